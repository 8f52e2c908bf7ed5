"""Night after night the lists are those of a run from nothing and of the rules, whatever comes, goes or changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pyspark.sql import SparkSession

from lookalike import config
from support import constraint_oracle
from support.constraint_items import item, signs
from support.constraint_oracle import Item
from support.nights import Found, Nights

Build = Callable[..., config.Settings]


def assert_right(found: Found, items: list[Item], rules: config.SimilarSettings) -> None:
    """Equal to the last bit, ties included: for vectors with cosines that are exact in float32."""
    expected = constraint_oracle.neighbours(items, rules)
    wrong = {
        name: (found.lists.get(name, []), right)
        for name, rows in expected.items()
        if found.lists.get(name, []) != (right := [(other, score) for _, other, score in rows])
    }
    assert not wrong, f"{len(wrong)} of {len(expected)} lists are wrong (found, right): {dict(list(wrong.items())[:3])}"
    assert found.duplicates == constraint_oracle.duplicates(items, rules)


def crowd() -> list[Item]:
    """Sixty items that differ, so that lists are updated while a few items change."""
    return [item(n, n) for n in range(100, 160)]


# B and C are variants of one product; A shows the picture of B.
A, B, C = item(0, signs(7)), item(1, signs(7), product="p"), item(2, signs(7, 1, 2), product="p")


def test_variants_of_an_item_that_stops_or_starts_to_represent_its_picture(
    spark: SparkSession, settings: Build
) -> None:
    """Nothing of C changes, and yet it takes the place of B in lists, and gives it back."""
    rules: dict[str, Any] = {"k": 70, "variant_of": "product", "duplicate_cosine": 0.99, "plan": "exact"}
    chosen = settings(similar=rules, index={"trees": 1})
    with Nights(spark, chosen) as nights:
        for shown in ([B, C], [A, B, C], [replace(A, eligible=False), B, C], [B, C]):
            items = [*shown, *crowd()]
            found = nights.run(items)
            assert_right(found, items, chosen.similar)
    assert found.searched < len(items) / 2
