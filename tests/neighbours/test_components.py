"""Connected components, on the driver and on Spark, against one pair after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from lookalike.knn.duplicate_pairs import connect
from lookalike.neighbours import components
from lookalike.neighbours.components import connected_components
from lookalike.warehouse.shared_files import ON_DISK

Pairs = list[tuple[str, str]]

PAIRS: dict[str, Pairs] = {
    "an item with itself": [("a", "a")],
    "one pair each way": [("b", "a"), ("a", "b")],
    "a chain": [(f"{n:02d}", f"{n + 1:02d}") for n in range(40)],
    "a chain in no order": [(f"{n * 7 % 41:02d}", f"{(n + 1) * 7 % 41:02d}") for n in range(40)],
    "a star and a ring": [*(("m", f"s{n}") for n in range(5)), ("x", "y"), ("y", "z"), ("z", "x")],
    "two that meet late": [("a", "c"), ("b", "d"), ("d", "e"), ("c", "e")],
}


def naive(pairs: Pairs) -> dict[str, str]:
    """The smallest id that each item is connected with."""
    least = {item: item for pair in pairs for item in pair if pair[0] != pair[1]}
    for _ in least:
        for a, b in pairs:
            if a != b:
                least[a] = least[b] = min(least[a], least[b])
    return least


@pytest.mark.parametrize("on_driver", [components.ON_DRIVER, 0], ids=["on the driver", "on Spark"])
def test_component_of_an_item_is_the_smallest_id_it_is_connected_with(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_driver: int
) -> None:
    """All cases in one, side by side."""
    monkeypatch.setattr(components, "ON_DRIVER", on_driver)
    together = [(f"{case}/{a}", f"{case}/{b}") for case, some in PAIRS.items() for a, b in some]
    pairs = spark.createDataFrame(together, "a string, b string")
    found = connected_components(pairs, tmp_path / "components", ON_DISK)
    assert (tmp_path / "components").exists() == (not on_driver)
    rows = found.collect()
    assert {row["item_id"]: row["component"] for row in rows} == naive(together)
    assert len(rows) == len(naive(together))


def test_no_pair_has_no_component(spark: SparkSession, tmp_path: Path) -> None:
    none = spark.createDataFrame([], "a string, b string")
    found = connected_components(none, tmp_path, ON_DISK)
    assert (found.columns, found.collect()) == (["item_id", "component"], [])


@pytest.mark.parametrize("seed", range(20))
def test_random_pairs_are_connected_like_one_after_the_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 200))
    a, b = rng.integers(0, count, (2, int(rng.integers(0, 2 * count))))
    least = list(range(count))
    for _ in range(count):
        for one, other in zip(a, b, strict=True):
            least[one] = least[other] = min(least[one], least[other])
    assert connect(count, a, b).tolist() == least


def test_chain_of_a_thousand_in_any_order_is_one_component() -> None:
    chain = np.random.default_rng(1).permutation(1000)
    found = connect(1001, chain[:-1], chain[1:])
    assert (found[:1000] == 0).all()
    assert found[1000] == 1000
