"""Connected components on Spark, against one pair after the other."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from lookalike.neighbours.components import connected_components

Pairs = list[tuple[str, str]]

PAIRS: dict[str, Pairs] = {
    "no pair": [],
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


@pytest.mark.parametrize("case", PAIRS)
def test_component_of_an_item_is_the_smallest_id_it_is_connected_with(
    spark: SparkSession, tmp_path: Path, case: str
) -> None:
    pairs = spark.createDataFrame(PAIRS[case], "a string, b string")
    found = connected_components(pairs, tmp_path / "components").collect()
    assert {row["item_id"]: row["component"] for row in found} == naive(PAIRS[case])
    assert len(found) == len(naive(PAIRS[case]))
