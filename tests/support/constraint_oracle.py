"""The rules of similar_items as a naive loop: item by item, in float64.

It is slow, and shares only the settings with the library.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lookalike.config import SimilarSettings
from support.brute_force import Neighbours

# Float32 dot products of unit vectors differ from float64 ones by less; neighbours closer than this may change places.
NOISE = 2e-6

Row = tuple[int, str, float]  # rank, similar_item_id, score
Duplicate = tuple[str, str, float]  # item_id, representative_item_id, score


@dataclass(frozen=True, eq=False)
class Item:
    """An embedded item: its vector has unit length or is zero, `columns` are those of the catalogue by name."""

    item_id: str
    vector: NDArray[np.float32]
    columns: Mapping[str, object]
    eligible: bool = True

    @property
    def order(self) -> bytes:
        """The sort key of its id."""
        return self.item_id.encode()


def neighbours(items: Sequence[Item], rules: SimilarSettings) -> dict[str, list[Row]]:
    """Return the rows of each item."""
    pictures = components(items, rules)
    return {item.item_id: _rows_of(item, items, pictures, rules) for item in items}


def duplicates(items: Sequence[Item], rules: SimilarSettings) -> list[Duplicate]:
    """Return a row for each item that another one represents, by item_id."""
    by_id = {item.item_id: item for item in items}
    rows = []
    for item_id, component in components(items, rules).items():
        members = [by_id[member] for member in component]
        first = min([item for item in members if may_be_listed(item, rules)] or members, key=lambda item: item.order)
        if first.item_id != item_id:
            rows.append((item_id, first.item_id, cosine(by_id[item_id], first)))
    return sorted(rows, key=lambda row: row[0].encode())


def _rows_of(
    query: Item, items: Sequence[Item], pictures: Mapping[str, frozenset[str]], rules: SimilarSettings
) -> list[Row]:
    """Level by level, best first, until the list is full; an item excludes others of its picture and product."""
    listed: list[tuple[Item, float]] = []
    seen_pictures = {pictures[query.item_id]}
    seen_variants = {variant(query, rules)} - {None}
    for level in fallback_levels(query, items, rules):
        shown = representatives(level.items, pictures, rules)
        for item in sorted(level.new, key=lambda item: (-cosine(query, item), item.order)):
            taken = pictures[item.item_id] in seen_pictures or variant(item, rules) in seen_variants
            near = rules.min_score is None or cosine(query, item) >= rules.min_score
            if len(listed) < rules.k + rules.spare and item.item_id in shown and near and not taken:
                listed.append((item, cosine(query, item)))
                seen_pictures.add(pictures[item.item_id])
                seen_variants |= {variant(item, rules)} - {None}
    listed.sort(key=lambda pair: (-pair[1], pair[0].order))
    return [(rank, item.item_id, score) for rank, (item, score) in enumerate(listed, start=1)]


@dataclass(frozen=True)
class FallbackLevel:
    """The items that share the value of one column with a query, and those of them that share no earlier one."""

    items: list[Item]
    new: list[Item]


def fallback_levels(query: Item, items: Sequence[Item], rules: SimilarSettings) -> list[FallbackLevel]:
    """group_by first, then the fallback levels; the query itself is in none. A null is a value like any other."""
    found, seen = [], {query.item_id}
    for column in _group_columns(rules):
        same = [item for item in items if column is None or item.columns[column] == query.columns[column]]
        found.append(FallbackLevel(same, [item for item in same if item.item_id not in seen]))
        seen |= {item.item_id for item in same}
    return found


def representatives(items: Sequence[Item], pictures: Mapping[str, frozenset[str]], rules: SimilarSettings) -> set[str]:
    """Of each picture, the item with the smallest id that may be listed."""
    first: dict[frozenset[str], str] = {}
    for item in sorted(items, key=lambda item: item.order):
        if may_be_listed(item, rules):
            first.setdefault(pictures[item.item_id], item.item_id)
    return set(first.values())


def components(items: Sequence[Item], rules: SimilarSettings) -> dict[str, frozenset[str]]:
    """Return for each item those that show its picture, itself included: near items, and items near to these."""
    found: dict[str, frozenset[str]] = {}
    for item in items:
        if item.item_id not in found:
            component = _component(item, items, rules)
            found |= dict.fromkeys(component, component)
    return found


def _component(item: Item, items: Sequence[Item], rules: SimilarSettings) -> frozenset[str]:
    last = _group_columns(rules)[-1]
    found, ahead = {item.item_id}, [item]
    while ahead and rules.duplicate_cosine is not None:
        here = ahead.pop()
        for other in items:
            same_group = last is None or other.columns[last] == here.columns[last]
            if other.item_id not in found and same_group and cosine(here, other) >= rules.duplicate_cosine:
                found.add(other.item_id)
                ahead.append(other)
    return frozenset(found)


def _group_columns(rules: SimilarSettings) -> tuple[str | None, ...]:
    """group_by and the fallback levels; None stands for the whole catalogue."""
    return (rules.group_by, *rules.group_fallback)


def variant(item: Item, rules: SimilarSettings) -> object:
    """The product of which the item is a variant; None for an item without a product."""
    return item.columns[rules.variant_of] if rules.variant_of else None


def may_be_listed(item: Item, rules: SimilarSettings) -> bool:
    """Whether it may be the neighbour of others."""
    return item.eligible or rules.eligible is None


@lru_cache(maxsize=1_000_000)
def cosine(one: Item, other: Item) -> float:
    """0 if a vector is zero, 1 if both are the same, although rounding to float32 changes their length."""
    if same_vector(one, other):
        return float(one.vector.any())
    return float(np.dot(one.vector.astype(np.float64), other.vector.astype(np.float64)))


def same_vector(one: Item, other: Item) -> bool:
    """Whether the vectors are equal to the last bit."""
    return one.vector.tobytes() == other.vector.tobytes()


# ---- what the job found, compared with the rules


def assert_same(found: Neighbours, items: Sequence[Item], rules: SimilarSettings) -> None:
    """Check that these are the lists of the rules; neighbours within NOISE of each other may change places.

    Ties of the same vector may not: they are in the order of their ids.
    """
    assert_fit(found, items, rules)
    by_id = {item.item_id: item for item in items}
    for item_id, wanted in neighbours(items, rules).items():
        listed = found.get(item_id, [])
        assert len(listed) == len(wanted), f"{item_id} has {listed}, should have {wanted}"
        off = [abs(score - right) for (_, score), (_, _, right) in zip(listed, wanted, strict=True)]
        assert max(off, default=0) <= NOISE, f"{item_id} has {listed}, should have {wanted}"
        for run in _runs([score for _, _, score in wanted]):
            ids, right = [other for other, _ in listed[run]], [other for _, other, _ in wanted[run]]
            if len({by_id[other].vector.tobytes() for other in ids + right}) == 1:
                assert ids == right, f"{item_id} has {ids} where {right} tie, in this order"


def _runs(scores: Sequence[float]) -> Iterator[slice]:
    """The runs of descending scores without a step of more than NOISE."""
    starts = [0, *(n for n in range(1, len(scores)) if scores[n - 1] - scores[n] > NOISE), len(scores)]
    return (slice(start, stop) for start, stop in itertools.pairwise(starts))


def assert_fit(found: Neighbours, items: Sequence[Item], rules: SimilarSettings) -> None:
    """Check that no list breaks a rule, whether or not it has the best items."""
    by_id = {item.item_id: item for item in items}
    pictures = components(items, rules)
    assert set(found) <= set(by_id)
    for item_id, listed in found.items():
        query, others = by_id[item_id], [by_id[other] for other, _ in listed]
        assert len(listed) <= rules.k + rules.spare, item_id
        _assert_scores(query, listed, by_id, rules)
        alike = [pictures[other.item_id] for other in (query, *others)]
        assert len(set(alike)) == len(alike), f"{item_id} lists a picture twice, or its own: {listed}"
        products = [variant(other, rules) for other in (query, *others) if variant(other, rules) is not None]
        assert len(set(products)) == len(products), f"{item_id} lists a product twice, or its own: {listed}"
        allowed: set[str] = set()
        for level in fallback_levels(query, items, rules):
            allowed |= representatives(level.items, pictures, rules) & {item.item_id for item in level.new}
        out = {other.item_id for other in others} - allowed
        assert not out, (
            f"{item_id} lists {out}, which are not eligible, not of its groups or not the first of a picture"
        )


def _assert_scores(
    query: Item, listed: list[tuple[str, float]], by_id: Mapping[str, Item], rules: SimilarSettings
) -> None:
    order = [(-score, other.encode()) for other, score in listed]
    assert order == sorted(order), f"{query.item_id} is out of order: {listed}"
    for other, score in listed:
        right = cosine(query, by_id[other])
        assert abs(score - right) <= NOISE, f"{query.item_id}, {other}: {score}, should be {right}"
        assert rules.min_score is None or score >= rules.min_score - NOISE, f"{query.item_id}, {other}: {score}"


def assert_full(found: Neighbours, items: Sequence[Item], rules: SimilarSettings) -> None:
    """Check that every list is as long as it can be, with as many items of each level as there can be.

    For rules without both variants and duplicates: how many items fit then depends on which is taken first. And without
    min_score: an item that an approximate search misses is not replaced by a farther one.
    """
    assert rules.min_score is None
    assert rules.variant_of is None or rules.duplicate_cosine is None
    by_id = {item.item_id: item for item in items}
    for item_id, wanted in neighbours(items, rules).items():
        levels = fallback_levels(by_id[item_id], items, rules)
        ids = [{item.item_id for item in level.new} for level in levels]
        has = [sum(other in level for other, _ in found.get(item_id, [])) for level in ids]
        should = [sum(other in level for _, other, _ in wanted) for level in ids]
        assert has == should, f"{item_id} has {has} neighbours by level, should have {should}"


def recall(found: Neighbours, items: Sequence[Item], rules: SimilarSettings) -> float:
    """The share of the right neighbours that were found; one as good as the last of them is right as well."""
    right, all_of_them = 0, 0
    for item_id, wanted in neighbours(items, rules).items():
        last = wanted[-1][2] - NOISE if wanted else 0
        right += min(len(wanted), sum(score >= last for _, score in found.get(item_id, [])))
        all_of_them += len(wanted)
    return right / max(1, all_of_them)


def assert_same_duplicates(found: Sequence[Duplicate], items: Sequence[Item], rules: SimilarSettings) -> None:
    """Check the table of duplicates and the order of its rows."""
    expected = duplicates(items, rules)
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    for (item_id, _, score), (_, _, right) in zip(found, expected, strict=True):
        assert abs(score - right) <= NOISE, item_id
