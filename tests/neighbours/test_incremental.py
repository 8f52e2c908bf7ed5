"""Lists follow the changes: whatever happens in a shop, its lists are those of a run from nothing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, note
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.models.network import CompiledModel
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from support import constraint_oracle
from support.constraint_oracle import Item
from support.shop import Shop, copy_warehouse, leftovers, new_warehouse, picture, refresh, rows
from support.stories import LONG, stories
from support.warehouses import publish_refused

# A refresh repairs lists while at most a fifth of the items changed: nine of these.
ITEMS = 48

# The first four items show one picture, each a little further from the first.
CHAIN = 4

# Between the 0.99 of a picture with one square turned and the 0.96 of one with four.
SAME = 0.98

RULES: dict[str, dict[str, Any]] = {
    "groups": {
        "k": 3,
        "spare": 1,
        "group_by": "kind",
        "group_fallback": ["dept"],
        "eligible": "price > 0",
        "variant_of": "product",
        "duplicate_cosine": SAME,
        "min_score": 0.9,
    },
    # Without groups an item has more possible neighbours than any list keeps.
    "one group": {"k": 2, "eligible": "price > 0", "variant_of": "product", "duplicate_cosine": SAME},
    "nothing but k": {"k": 1},
}


@dataclass(frozen=True)
class Base:
    """A shop and, for each set of rules, a warehouse with its first release; every story begins with them."""

    spark: SparkSession
    folder: Path
    model: CompiledModel
    shop: Shop

    def begin(self, rules: str, name: str) -> Story:
        """Return the shop of the first night, in the same folder, and a warehouse of that night."""
        first = self.folder / f"first-{rules}"
        fresh = self._shop()
        if not first.exists():
            refresh(self.spark, fresh, settings(fresh, new_warehouse(first, self.model), rules))
        warehouse = copy_warehouse(first, self.folder / name)
        return Story(self, fresh, settings(fresh, warehouse, rules), rules)

    def _shop(self) -> Shop:
        shutil.rmtree(self.shop.folder, ignore_errors=True)
        shutil.copytree(self.folder / "saved", self.shop.folder)
        return replace(self.shop, rows={item: dict(row) for item, row in self.shop.rows.items()})


def settings(shop: Shop, warehouse: Path, rules: str) -> config.Settings:
    # A group that is built again is searched as a whole: only with some rules does that happen in a few nights.
    index = {"trees": 2, "compact_share": 1.0 if rules == "one group" else 0.2}
    return shop.settings(warehouse, similar={"recall_sample": 8, "plan": "exact", **RULES[rules]}, index=index)


@pytest.fixture(scope="module")
def base(spark: SparkSession, model: CompiledModel, tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = tmp_path_factory.mktemp("selling")
    shop = Shop.of(folder / "shop", ITEMS)
    for number in range(CHAIN):
        shop.put(f"item-{number:02d}", picture(0, number))
        shop.rows[f"item-{number:02d}"] |= {"kind": f"kind-{number % 2}", "dept": "dept-0"}
    for number in range(10, 16):
        shop.rows[f"item-{number}"]["product"] = f"product-{number % 2}"
    shop.rows["item-16"]["price"] = 0
    shop.rows["item-17"]["price"] = None
    shutil.copytree(shop.folder, folder / "saved")
    return Base(spark, folder, model, shop)


@dataclass
class Story:
    """One shop and one warehouse, refreshed night after night."""

    base: Base
    shop: Shop
    settings: config.Settings
    rules: str

    def night(self, changes: Sequence[Change]) -> dict[str, Any]:
        """Refresh after these changes, check the lists against the rules, and return the record of the release."""
        for change in changes:
            apply(self.shop, change)
        release = refresh(self.base.spark, self.shop, self.settings)
        assert leftovers(Path(self.settings.warehouse.path)) == []
        items, similar = self._items(release), self.settings.similar
        constraint_oracle.assert_same(lists(release), items, similar)
        if similar.duplicate_cosine is not None:
            found = [(row["item_id"], row["representative_item_id"], row["score"]) for row in rows(release.duplicates)]
            constraint_oracle.assert_same_duplicates(found, items, similar)
        return release.record().model_dump(mode="json")

    def _items(self, release: ReleaseFolder) -> list[Item]:
        """Return the embedded items with the columns of the shop, not those of the release."""
        vectors = {row["item_id"]: np.array(row["embedding"], np.float32) for row in rows(release.embeddings)}
        assert set(vectors) == set(self.shop.rows)
        return [Item(item, vectors[item], row, (row["price"] or 0) > 0) for item, row in self.shop.rows.items()]

    def end(self) -> None:
        """Check that the last release is that of a run from nothing."""
        fresh = new_warehouse(Path(f"{self.settings.warehouse.path}-fresh"), self.base.model)
        found = Path(self.settings.warehouse.path) / "current"
        refresh(self.base.spark, self.shop, settings(self.shop, fresh, self.rules))
        expected = fresh / "current"
        assert rows(found / "similar_items", "release_id") == rows(expected / "similar_items", "release_id")
        assert (found / "duplicates").is_dir() == (expected / "duplicates").is_dir()
        if (found / "duplicates").is_dir():
            assert rows(found / "duplicates", "release_id") == rows(expected / "duplicates", "release_id")


def lists(release: ReleaseFolder) -> dict[str, list[tuple[str, float]]]:
    """Return the neighbours of each item by rank; checks that ranks count from one."""
    found: dict[str, list[tuple[str, float]]] = {}
    for row in rows(release.similar_items):
        listed = found.setdefault(row["item_id"], [])
        listed.append((row["similar_item_id"], row["score"]))
        assert row["rank"] == len(listed)
    return found


Change = tuple[Any, ...]


def apply(shop: Shop, change: Change) -> None:
    """Change the shop; a change that is not possible, such as the removal of an unknown item, does nothing."""
    match change:
        case "picture", item, seed, turned:
            if item not in shop.rows:
                shop.add(item, seed)
            shop.put(item, picture(seed, turned))
        case "copy", item, other if {item, other} <= set(shop.rows):
            shop.put(item, shop.path(other).read_bytes())
        case "remove", item if item in shop.rows and len(shop.rows) > 2:
            del shop.rows[item]
        case "set", item, column, value if item in shop.rows:
            shop.rows[item][column] = value


# Each kind of change at least once; two or three lists in three stay as they are from one night to the next.
NIGHTS: list[list[Change]] = [
    [
        ("picture", "item-05", 105, 0),
        ("picture", "item-60", 140, 0),
        ("set", "item-06", "price", 0),
        ("remove", "item-07"),
        ("set", "item-16", "price", 1),
    ],
    # The first of a chain is no longer for sale, and a fifth joins it. A product loses its best variant to another, and
    # two items come to show one picture.
    [
        ("set", "item-00", "price", None),
        ("picture", "item-61", 0, CHAIN),
        ("set", "item-10", "product", "product-9"),
        ("set", "item-18", "product", "product-1"),
        ("copy", "item-20", "item-21"),
    ],
    # The chain breaks in the middle, and the copies part again; a representative goes.
    [("picture", "item-02", 102, 0), ("picture", "item-20", 120, 0), ("remove", "item-01")],
    # Only columns change: for sale again, another group, no product any more.
    [("set", "item-00", "price", 1), ("set", "item-08", "kind", "kind-1"), ("set", "item-12", "product", None)],
]


def test_lists_follow_every_kind_of_change_and_most_are_repaired(base: Base) -> None:
    story = base.begin("one group", "every")
    for number, night in enumerate(NIGHTS, start=1):
        record = story.night(night)
        assert record["neighbours"]["since_full"] == number
        assert record["neighbours"]["searched"] < ITEMS / 2
    story.end()


def test_all_lists_are_searched_after_a_release_that_was_refused_for_its_recall(base: Base) -> None:
    story = base.begin("one group", "refused")
    publish_refused(Warehouse(story.settings.warehouse.path), "similar.recall_floor")
    record = story.night(NIGHTS[0])["neighbours"]
    assert (record["since_full"], record["searched"]) == (0, len(story.shop.rows))


_items = st.integers(0, ITEMS + 3).map("item-{:02d}".format)

changes: st.SearchStrategy[Change] = st.one_of(
    st.tuples(st.just("picture"), _items, st.integers(0, ITEMS), st.just(0)),  # a new item too, and another's bytes
    st.tuples(st.just("picture"), _items, st.just(0), st.integers(0, 6)),
    st.tuples(st.just("copy"), _items, _items),
    st.tuples(st.just("remove"), _items),
    st.tuples(st.just("set"), _items, st.just("price"), st.sampled_from([0, 1, None])),
    st.tuples(st.just("set"), _items, st.just("kind"), st.sampled_from(["kind-0", "kind-1", "kind-9", None])),
    st.tuples(st.just("set"), _items, st.just("dept"), st.sampled_from(["dept-0", "dept-1", None])),
    st.tuples(st.just("set"), _items, st.just("product"), st.sampled_from(["product-0", "product-1", None])),
)


# Where no item changes: what hypothesis tries first.
DULL = [[("picture", "item-00", 0, 0)] * 2] * 2


# Each night is a run of the whole job: all rules are tried in long runs alone.
@pytest.mark.stories
@pytest.mark.parametrize("rules", RULES if LONG else ["groups"])
def test_lists_follow_any_changes(base: Base, rules: str) -> None:
    count = 0

    @stories(1, 2)
    @given(st.lists(st.lists(changes, min_size=2, max_size=5), min_size=2, max_size=2))
    def check(nights: list[list[Change]]) -> None:
        nonlocal count
        assume(nights != DULL)
        count += 1
        story = base.begin(rules, f"any-{rules}-{count}")
        for night in nights:
            note(f"tonight: {night}")
            story.night(night)
        story.end()

    check()
