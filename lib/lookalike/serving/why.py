"""Say of two items why one is in the list of the other, or is not: by the published table and the rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.serving import rules
from lookalike.serving.lazy import lazy
from lookalike.serving.lists import ReleaseItems
from lookalike.serving.places import ItemPlaces
from lookalike.serving.questions import LARGEST_INT
from lookalike.serving.release_index import ReleaseIndex
from lookalike.serving.results import Neighbours
from lookalike.serving.rules import RuleItems, RuleTable
from lookalike.serving.tables import Table
from lookalike.topk.exact import score_query
from lookalike.topk.items import Vectors
from lookalike.warehouse.stored_config import StoredSimilar

# Two scores nearer than this are a tie on another CPU, which adds in another order.
TIE = 5e-6


@dataclass(frozen=True)
class Why:
    """Why `other_id` is in the list of `item_id`, or is not; printed, it is a few lines.

    `reason` is one of listed, same_item, no_embedding, same_variant, same_duplicate_group, other_group, not_eligible,
    duplicate_represents, no_cosine, below_min_score, variant_taken, duplicate_taken, beyond_k and missed, and `text`
    says it in a sentence.
    """

    release_id: str
    item_id: str
    other_id: str
    reason: str
    text: str
    rank: int | None = None  # in the published list
    score: float | None = None  # the cosine of their embeddings
    rank_by_score: int | None = None  # among all items that share a level with item_id, before any rule
    compared: int | None = None  # how many these are
    place: int | None = None  # the place at which the rules take it, where nothing else keeps it out
    wanted: int | None = None  # how many places the list has: similar.k and similar.spare
    shares: str | None = None  # the first column of the levels that both have the same value of
    instead: str | None = None  # the item that has its place

    @property
    def listed(self) -> bool:
        """Whether the published list has it."""
        return self.rank is not None

    def as_json(self) -> dict[str, Any]:
        """Return all fields as JSON types."""
        return {**asdict(self), "listed": self.listed}

    def lines(self) -> list[str]:
        """Return what is known, a line each."""
        found = [self.text]
        if self.score is not None:
            found.append(f"score: {self.score:.4f}, the cosine of their embeddings")
        if self.rank_by_score is not None:
            grouped = self.shares or self.reason == "other_group"
            others = "items of the same groups" if grouped else "other items"
            found.append(f"by score alone: {nth(self.rank_by_score)}; {self.compared:,} {others} are compared")
        if self.shares:
            found.append(f"first column that they share: {self.shares}")
        if self.place is not None:
            found.append(f"by the rules: taken {nth(self.place)}; the list has {self.wanted:,} places")
        return found

    def __str__(self) -> str:
        return "\n".join(self.lines())


class Explainer:
    """What a release says of its items' lists: what the rules read of its tables is kept, and where the vectors are."""

    def __init__(self, release_id: str, items: ReleaseItems, similar: StoredSimilar, index: ReleaseIndex) -> None:
        self.release_id, self.items, self.similar = release_id, items, similar
        self._index = index

    def explain(self, item_id: str, other_id: str) -> Why:
        """Say why the one has the other in its list, or has not; raise UnknownItemError for what no release knows."""
        row, other = self.table.row(item_id), self.table.row(other_id)
        if row is None or other is None:
            return self._without_embedding(item_id, other_id)
        if row == other:
            return Why(self.release_id, item_id, other_id, "same_item", f"{item_id!r} is never in its own list")
        return self._of_pair(row, other)

    def _without_embedding(self, item_id: str, other_id: str) -> Why:
        failed = self.items.failed((item_id, other_id))
        for one in (item_id, other_id):
            if one not in failed:
                self.items.need([one])
        one, reason = next(iter(failed.items()))
        text = f"the picture of {one!r} failed with {reason}: it has no embedding"
        return Why(self.release_id, item_id, other_id, "no_embedding", text)

    def _of_pair(self, row: int, other: int) -> Why:
        found, pair = self.table.around(row), np.array([row, other])
        item_id, other_id = self.table.ids.take(pa.array(pair)).to_pylist()
        vectors = self.places.vectors(pair, found.groups)
        query, its = vectors if vectors is not None else self.items.vectors(pa.array([item_id, other_id]))
        scores = self.places.score(query, found.rows, found.groups)
        published = self.items.neighbours(item_id, LARGEST_INT)
        own = float(score_query(query, its[None], np.zeros(1, np.int64))[0])
        return _Pair(self, found, scores, published, item_id, other_id, other, own).why()

    @lazy
    def table(self) -> RuleTable:
        """What the rules read of the items."""
        embeddings = _read(self.items.embeddings, rules.columns(self.similar))
        duplicates = self.items.duplicates if self.similar.duplicate_cosine is not None else None
        return RuleTable.of(embeddings, _read(duplicates, ("item_id", "representative_item_id")), self.similar)

    @lazy
    def places(self) -> ItemPlaces:
        """Where their vectors are."""
        return ItemPlaces(self._index, self.table.ids)


def _read(table: Table | None, names: Sequence[str]) -> pa.Table:
    if table is None or table.files is None:
        return pa.table({name: pa.array([], pa.string()) for name in names})
    return table.read(names)


@dataclass(frozen=True)
class _Pair:
    """Two items with embeddings, and all that the rules say of the first one's list."""

    of: Explainer
    items: RuleItems
    scores: Vectors
    published: Neighbours
    item_id: str
    other_id: str
    row: int  # of the other, in the table
    score: float

    def why(self) -> Why:
        names = [one.item_id for one in self.published]
        rank = names.index(self.other_id) + 1 if self.other_id in names else None
        reason, text, instead = self._listed(rank) if rank else self._not_listed()
        return Why(
            self.of.release_id,
            self.item_id,
            self.other_id,
            reason,
            text,
            rank=rank,
            score=self.score if np.isfinite(self.score) else None,
            rank_by_score=self._rank_by_score(),
            compared=len(self.items.rows) - 1,
            place=self.place,
            wanted=self.wanted,
            shares=self._column(),
            instead=instead,
        )

    @cached_property
    def wanted(self) -> int:
        return self.of.similar.k + self.of.similar.spare

    @cached_property
    def other(self) -> int | None:
        return self.items.place(self.row)

    @cached_property
    def taken(self) -> NDArray[np.int64]:
        return self.items.taken(self.scores, self.of.similar.min_score)

    @cached_property
    def place(self) -> int | None:
        at = np.flatnonzero(self.taken == self.other)
        return int(at[0]) + 1 if len(at) else None

    def _rank_by_score(self) -> int | None:
        if not np.isfinite(self.score):
            return None
        score = np.float32(self.score)
        better = (self.scores > score) | ((self.scores == score) & (self.items.rows < self.row))
        better[self.items.query] = False
        return int(better.sum()) + 1

    def _column(self) -> str | None:
        columns = (self.of.similar.group_by, *self.of.similar.group_fallback)
        return None if self.other is None else columns[self.items.levels[self.other]]

    # ---- reasons: a code, a sentence, and the item that has the place

    def _listed(self, rank: int) -> tuple[str, str, None]:
        spare = f", beyond similar.k = {self.of.similar.k:,}, as a spare one" if rank > self.of.similar.k else ""
        return "listed", f"{self.other_id!r} is {nth(rank)} in the list of {self.item_id!r}{spare}", None

    def _not_listed(self) -> tuple[str, str, str | None]:
        reason, because, instead = self._kept_out() or self._outdone()
        return reason, f"{self.other_id!r} is not in the list of {self.item_id!r}: {because}", instead

    def _kept_out(self) -> tuple[str, str, str | None] | None:
        """Return which rule keeps the pair apart, whatever else there is."""
        similar, items, other = self.of.similar, self.items, self.other
        if other is None:
            named = " or ".join((similar.group_by or "", *similar.group_fallback))
            return "other_group", f"they have different values of {named}", None
        if items.products[other] == items.products[items.query]:
            return "same_variant", f"both are variants of one product by {similar.variant_of}", None
        if items.pictures[other] == items.pictures[items.query]:
            return "same_duplicate_group", "both show one picture, or are joined by others that do", None
        if not items.eligible[other]:
            return "not_eligible", f"it may not be recommended by similar.eligible: {similar.eligible}", None
        if items.shown[other] != other:
            shown = self._name(items.shown[other])
            return "duplicate_represents", f"its duplicate {shown!r} represents their picture", shown
        if not np.isfinite(self.score):
            return "no_cosine", "one of their embeddings holds no numbers", None
        if similar.min_score is not None and self.scores[other] < np.float32(similar.min_score):
            return "below_min_score", f"its score is below similar.min_score = {similar.min_score:g}", None
        return None

    def _outdone(self) -> tuple[str, str, str | None]:
        """Return which other items have the place of one that no rule keeps out."""
        if self.place is None:
            return self._rival()
        if self.place <= self.wanted and self._ties_with_the_last():
            return "beyond_k", "it ties with the last of the list, which another CPU may order otherwise", None
        if self.place > self.wanted:
            return "beyond_k", f"it is {nth(self.place)} by the rules, and the list ends at {self.wanted:,}", None
        return "missed", f"it should be {nth(self.place)} by the rules; an approximate search has missed it", None

    def _rival(self) -> tuple[str, str, str]:
        """Return the item that was taken before, and leaves no place for another of its product or picture."""
        items, other = self.items, self.other
        of_product = items.products[self.taken] == items.products[other]
        place = int(np.flatnonzero(of_product | (items.pictures[self.taken] == items.pictures[other]))[0])
        name, what = self._name(self.taken[place]), "product" if of_product[place] else "picture"
        if place >= self.wanted:
            behind = f"is {nth(place + 1)} by the rules, and the list ends at {self.wanted:,}"
            return "beyond_k", f"the best of its {what}, {name!r}, {behind}", name
        reason = "variant_taken" if of_product[place] else "duplicate_taken"
        missed = "" if any(one.item_id == name for one in self.published) else ", which the search has missed"
        return reason, f"{name!r} has the place of its {what}{missed}", name

    def _ties_with_the_last(self) -> bool:
        full = len(self.published) >= self.wanted
        return full and abs(self.published[-1].score - self.score) <= TIE

    def _name(self, row: int) -> str:
        name: str = self.of.table.ids[int(self.items.rows[row])].as_py()
        return name


def nth(number: int) -> str:
    """Return a number as an ordinal: 1st, 2nd, 3rd, 4th, 11th, 21st."""
    last = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{last}"
