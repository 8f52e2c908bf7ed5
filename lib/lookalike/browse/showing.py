"""Items of a held release as cards and rows of cards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lookalike.browse.held import HeldRelease
from lookalike.browse.items import Rows
from lookalike.browse.links import Links
from lookalike.images.thumbnails import Thumbnail
from lookalike.pages.cards import Card, CardList, PictureRow, labels

# Neighbours of a row.
NEIGHBOURS = 6


@dataclass(frozen=True)
class Notes:
    """What a card says besides its item: `note`, `mark` (left or new), and where `more` of the note is."""

    note: str = ""
    mark: str = ""
    more: str = ""


@dataclass(frozen=True)
class Showing:
    """Makes the cards of one release."""

    held: HeldRelease
    links: Links = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "links", Links(self.held.release_id))

    def card(self, row: int, notes: Notes | None = None, like: Mapping[str, str] | None = None) -> Card:
        """Return the card of an item; its labels are compared with those of `like`, where that has the column."""
        item_id, said = self.held.items.ids[row].as_py(), notes or Notes()
        own = self.held.items.labels_of(row)
        others = [(like or own).get(name, text) for name, text in own.items()]
        return Card(
            item_id,
            Thumbnail(self.links.picture(item_id)),
            list(labels(list(own.values()), others)),
            said.note,
            said.mark,
            self.links.item(item_id),
            said.more,
        )

    def cards(self, rows: Iterable[int], notes: Iterable[str] | None = None) -> list[Card]:
        """Return the cards of items, each with a note where there are some."""
        rows = list(rows)
        said = notes if notes is not None else [""] * len(rows)
        return [self.card(row, Notes(note)) for row, note in zip(rows, said, strict=True)]

    def neighbours(self, row: int, most: int | None = None) -> list[Card]:
        """Return the cards of an item's neighbours: rank and score, and why."""
        own, item_id = self.held.items.labels_of(row), self.held.items.ids[row].as_py()
        k = self.held.record.config.similar.k
        found = []
        for rank, (other, score) in enumerate(self.held.lists.of(row, most), 1):
            more = self.links.why(item_id, self.held.items.ids[other].as_py())
            note = f"{rank}: {score:.3f}{', spare' if rank > k else ''}"
            found.append(self.card(other, Notes(note, more=more), own))
        return found

    def row(self, row: int, note: str = "") -> PictureRow:
        """Return an item and its first neighbours."""
        return PictureRow(self.card(row, Notes(note)), [CardList("", self.neighbours(row, NEIGHBOURS))])

    def rows(self, rows: Rows, notes: Iterable[str] | None = None) -> list[PictureRow]:
        """Return a row for each item."""
        said = notes if notes is not None else [""] * len(rows)
        return [self.row(int(row), note) for row, note in zip(rows, said, strict=True)]


def changed(old: Showing, new: Showing, before: int, now: int) -> PictureRow:
    """Return an item with its first neighbours before and now; those are marked that only one of the lists has."""
    lists = (old.held.lists.of(before), new.held.lists.of(now))
    named = [{side.held.items.ids[row].as_py() for row, _ in one} for side, one in zip((old, new), lists, strict=True)]
    moved = named[0] ^ named[1]
    like = new.held.items.labels_of(now)
    shown = []
    for side, listed, title, mark in ((old, lists[0], "Before", "left"), (new, lists[1], "Now", "new")):
        cards = [
            side.card(row, Notes(f"{score:.3f}", mark if side.held.items.ids[row].as_py() in moved else ""), like)
            for row, score in listed[:NEIGHBOURS]
        ]
        shown.append(CardList(title, cards))
    return PictureRow(new.card(now), shown)
