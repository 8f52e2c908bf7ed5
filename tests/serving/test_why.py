"""`why` of every pair of a small release: listed where the table lists it, and else a reason that holds."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lookalike.config import SimilarSettings
from lookalike.errors import QueryError, UnknownItemError
from lookalike.serving.client import open_release
from lookalike.serving.why import Why, nth
from lookalike.storage import json_file
from lookalike.warehouse.release import ReleaseFolder
from support import constraint_items, constraint_oracle, random_catalogues, records
from support.constraint_items import item, signs
from support.constraint_oracle import Item
from support.drawn import ROOT
from support.ruled_release import FAILED, write_ruled_release

FALLBACK = {"group_by": "kind", "group_fallback": ["dept"]}
ALL = {**FALLBACK, "eligible": "in_stock", "variant_of": "product", "k": 3, "spare": 1}

CASES: dict[str, tuple[Callable[[], Sequence[Item]], dict[str, Any]]] = {
    "random, all rules": (
        lambda: random_catalogues.real_items(30, 3),
        {**ALL, "duplicate_cosine": 0.95, "min_score": 0.1},
    ),
    "a list with the best items of groups": (
        constraint_items.fallback_to_groups_that_are_listed,
        {**ALL, "duplicate_cosine": 0.99, "min_score": -0.5},
    ),
    "products that share pictures": (
        constraint_items.products_that_share_pictures,
        {"variant_of": "product", "duplicate_cosine": 0.99, "k": 2},
    ),
    "nothing but k": (constraint_items.ties, {"k": 4}),
}


class Truth:
    """The naive loop over the rules, and what it says of a pair."""

    def __init__(self, items: Sequence[Item], rules: SimilarSettings) -> None:
        self.items, self.rules = items, rules
        self.by_id = {one.item_id: one for one in items}
        self.pictures = constraint_oracle.components(items, rules)
        self.lists = constraint_oracle.neighbours(items, rules)

    def rank(self, why: Why) -> int | None:
        return next((rank for rank, other, _ in self.lists[why.item_id] if other == why.other_id), None)

    def takes(self, why: Why, other_id: str, places: int) -> bool:
        """Whether a list of so many places has the item."""
        longer = self.rules.model_copy(update={"k": places, "spare": 0})
        shown = self.pictures
        rows = constraint_oracle._rows_of(self.by_id[why.item_id], self.items, shown, longer)
        return other_id in {other for _, other, _ in rows}

    def holds(self, why: Why) -> bool:
        """Whether the reason is true of the pair."""
        query, other, rules = self.by_id[why.item_id], self.by_id[why.other_id], self.rules
        levels = constraint_oracle.fallback_levels(query, self.items, rules)
        met = [level for level in levels if other in level.new]
        product, alike = constraint_oracle.variant(other, rules), self.pictures[other.item_id]
        reasons: dict[str, Callable[[], bool]] = {
            "same_item": lambda: query is other,
            "other_group": lambda: not met,
            "same_variant": lambda: product is not None and product == constraint_oracle.variant(query, rules),
            "same_duplicate_group": lambda: query.item_id in alike,
            "not_eligible": lambda: not constraint_oracle.may_be_listed(other, rules),
            "duplicate_represents": lambda: (
                why.instead in alike - {other.item_id}
                and why.instead in constraint_oracle.representatives(met[0].items, self.pictures, rules)
            ),
            "below_min_score": lambda: constraint_oracle.cosine(query, other) < float(rules.min_score or -2),
            "variant_taken": lambda: (
                product == constraint_oracle.variant(self.by_id[str(why.instead)], rules)
                and self.takes(why, str(why.instead), rules.wanted)
            ),
            "duplicate_taken": lambda: why.instead in alike and self.takes(why, str(why.instead), rules.wanted),
            "beyond_k": lambda: why.instead is not None or (why.place or 0) > rules.wanted,
        }
        return reasons[why.reason]()


@pytest.mark.parametrize("case", CASES)
def test_why_agrees_with_the_table_and_the_rules_for_every_pair(case: str, tmp_path: Path) -> None:
    make, similar = CASES[case]
    items, rules = make(), SimilarSettings.model_validate(similar)
    truth = Truth(items, rules)
    release = open_release(write_ruled_release(tmp_path / "r", items, rules))
    for one, other in itertools.product(items, repeat=2):
        why = release.why(one.item_id, other.item_id)
        rank = truth.rank(why)
        assert (why.rank, why.listed, why.reason == "listed") == (rank, rank is not None, rank is not None), why
        assert why.listed or truth.holds(why), why
        if why.place is not None:
            assert truth.takes(why, other.item_id, why.place), why
            assert why.place == 1 or not truth.takes(why, other.item_id, why.place - 1), why
        if one is not other:
            assert why.score == pytest.approx(constraint_oracle.cosine(one, other), abs=1e-6)
            better = sum(
                (-constraint_oracle.cosine(one, third), third.order)
                < (-constraint_oracle.cosine(one, other), other.order)
                for level in constraint_oracle.fallback_levels(one, items, rules)
                for third in level.new
                if third is not other
            )
            assert why.rank_by_score == better + 1, why


@pytest.mark.parametrize("version", ["0.1.0", "0.3.0", "0.5.0"])
def test_why_agrees_with_the_table_that_a_job_has_written(version: str) -> None:
    release = open_release(ROOT / f"tests/golden/{version}/warehouse")
    ids = release.items().to_arrow()["item_id"].to_pylist()
    assert release.similar_many(ids, 99) == [release.similar(item_id, 99) for item_id in ids]
    assert release.search_many(release.embeddings(ids), 5) == [release.search(release.embedding(one), 5) for one in ids]
    reasons = Counter[str]()
    for item_id in ids:
        listed = {one.item_id: (rank, one.score) for rank, one in enumerate(release.similar(item_id, 99), 1)}
        for other in ids:
            why = release.why(item_id, other)
            assert (why.rank, why.score) == listed[other] if other in listed else why.rank is None, why
            reasons[why.reason] += 1
    assert reasons["listed"] == release.record.counts.similar_items
    assert "missed" not in reasons


def test_item_without_an_embedding_says_so_and_one_that_no_release_knows_is_an_error(tmp_path: Path) -> None:
    items = constraint_items.ties()
    release = open_release(write_ruled_release(tmp_path / "r", items, SimilarSettings(k=2)))
    known = items[0].item_id
    for pair in ((known, FAILED), (FAILED, known), (FAILED, FAILED)):
        why = release.why(*pair)
        assert (why.reason, why.listed, why.score) == ("no_embedding", False, None)
        assert "failed with truncated" in str(why)
    for pair in ((known, "gone"), ("gone", known), ("gone", FAILED), ("gone", "lost")):
        with pytest.raises(UnknownItemError, match=r"^item 'gone' is not in release r$"):
            release.why(*pair)
    with pytest.raises(QueryError, match="an item id is None"):
        release.why(known, None)  # type: ignore[arg-type]


def test_release_without_an_embedding_knows_its_failures(tmp_path: Path) -> None:
    rules = SimilarSettings.model_validate({**ALL, "duplicate_cosine": 0.95})
    root = write_ruled_release(tmp_path / "r", constraint_items.all_cases(), rules)
    for path in [*root.glob("embeddings/*"), *root.glob("duplicates/*"), *root.glob("similar_items/*")]:
        path.unlink()
    counts = {**records.COUNTS, "items": 1, "embedded": 0, "failed": 1, "similar_items": 0}
    config = {"similar": rules.model_dump(mode="json")}
    records.write_record(ReleaseFolder(root), counts=counts, config=config)
    release = open_release(root)
    assert release.why(FAILED, FAILED).reason == "no_embedding"
    with pytest.raises(UnknownItemError, match=r"^item 'gone' is not in release r$"):
        release.why("gone", FAILED)


def test_item_that_the_search_has_missed_is_named_as_such(tmp_path: Path) -> None:
    items, rules = [item(n, signs(0, *range(n))) for n in range(6)], SimilarSettings(k=2)
    root = write_ruled_release(tmp_path / "r", items, rules)
    _drop_row(root, "000", "001")
    why = open_release(root).why("000", "001")
    assert (why.reason, why.rank, why.place) == ("missed", None, 1)
    assert "an approximate search has missed it" in str(why)
    assert open_release(root).why("000", "003").reason == "beyond_k"


def test_tie_with_the_last_of_a_full_list_is_no_miss(tmp_path: Path) -> None:
    root = write_ruled_release(tmp_path / "r", constraint_items.ties(), SimilarSettings(k=4))
    listed = [one.item_id for one in open_release(root).similar("000")]
    assert listed == ["001", "002", "003", "004"]
    _rewrite(root, lambda rows: pc.if_else(pc.equal(rows["similar_item_id"], "002"), "009", rows["similar_item_id"]))
    why = open_release(root).why("000", "002")
    assert (why.reason, why.place) == ("beyond_k", 2)
    assert "ties with the last" in why.text
    _drop_row(root, "000", "009")  # the list is not full any more
    assert open_release(root).why("000", "002").reason == "missed"


def test_vectors_that_an_item_had_before_have_no_part_in_its_explanation(tmp_path: Path) -> None:
    items, rules = [item(n, signs(0, *range(n))) for n in range(6)], SimilarSettings(k=2)
    before = [item(n, signs(0, *range(9 - n))) for n in range(6)]
    release = open_release(write_ruled_release(tmp_path / "r", items, rules, before))
    for one, other in itertools.permutations(items, 2):
        why = release.why(one.item_id, other.item_id)
        assert (why.place == why.rank) if why.listed else why.reason == "beyond_k", why
    assert len(release.search_many(release.embeddings(["000"]), 99)[0]) == 6


def test_vectors_without_numbers_have_no_cosine(tmp_path: Path) -> None:
    nothing = np.full(constraint_items.DIMENSIONS, np.nan, np.float32)
    items = [item(0, 0), item(1, 1), item(2, 2)]
    root = write_ruled_release(tmp_path / "r", items, SimilarSettings(k=2))
    broken = write_ruled_release(tmp_path / "s", [*items, item(9, nothing)], SimilarSettings(k=2))
    for pair in (("000", "009"), ("009", "000")):
        why = open_release(broken).why(*pair)
        assert why.listed or (why.reason, why.score, why.rank_by_score) == ("no_cosine", None, None)
    assert open_release(root).why("000", "001").listed


def _drop_row(root: Path, item_id: str, other: str) -> None:
    """Take a neighbour out of the published table."""

    def kept(rows: pa.Table) -> pa.Array:
        wanted = pc.and_(pc.equal(rows["item_id"], item_id), pc.equal(rows["similar_item_id"], other))
        return pc.if_else(wanted, pa.scalar(None, pa.string()), rows["similar_item_id"])

    _rewrite(root, kept)


def _rewrite(root: Path, neighbours: Callable[[pa.Table], pa.Array]) -> None:
    """Give the published table other neighbours, none where they are null; nothing lists its files any more."""
    path = root / "similar_items/part-0.parquet"
    table = pq.read_table(path)
    left = table.set_column(2, "similar_item_id", neighbours(table)).drop_null()
    pq.write_table(left, path, write_page_checksum=True)
    record = json_file.unsealed((root / "release.json").read_bytes())
    counts = {**record["counts"], "similar_items": len(left)}
    (root / "release.json").write_bytes(json_file.sealed({**record, "files": None, "counts": counts}))


@pytest.mark.parametrize(
    ("number", "said"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd"), (1013, "1,013th")]
)
def test_ordinals(number: int, said: str) -> None:
    assert nth(number) == said
