"""Items that deserve a look: alone by score or by rules, in many lists, of another label, or of one picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lookalike.browse.held import ALIKE, HeldRelease
from lookalike.browse.items import Rows
from lookalike.browse.showing import Notes, Showing
from lookalike.errors import QueryError
from lookalike.pages.cards import CardList, PictureRow

_ROWS = 10
_CARDS = 48
_DUPLICATES = 12  # of one group


@dataclass(frozen=True)
class Kind:
    """A kind of items: its name in the address, its title, and what to look for."""

    name: str
    title: str
    lead: str


KINDS = (
    Kind(
        "lowest",
        "Lowest best score",
        "Nothing in the catalogue looks like these. `similar.min_score` leaves out neighbours that are too far.",
    ),
    Kind(
        "short",
        "Fewer than k neighbours",
        "The rules leave them few candidates: a small group, `similar.eligible`, `similar.variant_of` or "
        "`similar.min_score`. `similar.group_fallback` fills lists up.",
    ),
    Kind(
        "hubs",
        "In most lists",
        "Look whether one of these is a blank or broken picture, which is near to everything. Lists of items that show "
        "the same picture are not counted; an item is here that is in twice as many lists as the average.",
    ),
    Kind(
        "labels",
        "Neighbours of another label",
        "Items by how many of their first ten neighbours have another value of the column, the most first: a wrong "
        "label, or a picture of something else.",
    ),
    Kind(
        "duplicates",
        "One picture, several items",
        "Items that show the same picture, by `similar.duplicate_cosine`: one of them stands in lists for all.",
    ),
)


_ALIKE_LEAD = (
    f"Items with a neighbour of a score of {ALIKE} or more, and those joined by such: perhaps they show the same "
    "picture. With `similar.duplicate_cosine`, one of them stands in lists for all."
)


@dataclass(frozen=True)
class Worst:
    """The items of one kind, the worst first, with a note of each; groups of items where they are duplicates."""

    kind: Kind
    rows: Any
    notes: Any
    said: str = "{}"
    column: str = ""

    @classmethod
    def of(cls, held: HeldRelease, name: str, column: str) -> Worst:
        """Return those of a kind by its name; raise QueryError."""
        kind = next((one for one in KINDS if one.name == name), None)
        if kind is None:
            raise QueryError(f"there is no view {name!r}; there are {', '.join(one.name for one in KINDS)}")
        if name == "lowest":
            return cls(kind, *held.lowest, "best score {:.3f}")
        if name == "short":
            return cls(kind, *held.shorter, f"{{}} of {held.record.config.similar.k:,}")
        if name == "hubs":
            return cls(kind, *held.hubs, "in {:,} lists")
        if name == "labels":
            return cls._of_labels(kind, held, column)
        if held.record.config.similar.duplicate_cosine is None:
            kind = replace(kind, lead=_ALIKE_LEAD)
        return cls(kind, held.duplicates, [len(one) for one in held.duplicates], "{:,} items")

    @classmethod
    def _of_labels(cls, kind: Kind, held: HeldRelease, column: str) -> Worst:
        if not held.items.labels:
            return cls(kind, (), ())
        first = held.group_by if len(held.items.labels) == 1 else None
        chosen = column or first or next(name for name in held.items.labels if name != held.group_by)
        if chosen not in held.items.labels:
            raise QueryError(f"the release keeps no column {chosen!r}; it keeps {', '.join(held.items.labels)}")
        return cls(kind, *held.of_another(chosen), f"{{}} of the first {min(10, held.record.config.similar.k)}", chosen)

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.rows)

    @property
    def size(self) -> int:
        """How many a page shows."""
        return _CARDS if self.kind.name == "hubs" else _ROWS

    def shown(self, show: Showing, part: slice) -> dict[str, Any]:
        """Return the cards, or the rows of cards, of one page."""
        rows, notes = self.rows[part], [self.said.format(note) for note in self.notes[part]]
        if self.kind.name == "hubs":
            return {"cards": show.cards([int(row) for row in rows], notes), "rows_shown": []}
        if self.kind.name != "duplicates":
            return {"cards": [], "rows_shown": show.rows(rows, notes)}
        return {"cards": [], "rows_shown": [_group(show, one, note) for one, note in zip(rows, notes, strict=True)]}


def _group(show: Showing, rows: Rows, note: str) -> PictureRow:
    first, *others = (int(row) for row in rows[: _DUPLICATES + 1])
    more = f", {_DUPLICATES} of the others are shown" if len(rows) > _DUPLICATES + 1 else ""
    like = show.held.items.labels_of(first)
    return PictureRow(
        show.card(first, Notes(note + more)), [CardList("", [show.card(row, like=like) for row in others])]
    )
