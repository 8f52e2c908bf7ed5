"""The examples of docs/rules.md: the naive loop, the search, and the check of the recall give the lists of the page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.quality import recall
from support import constraint_items, constraint_oracle
from support.constraint_oracle import Item
from support.nights import Nights

PAGE = (Path(__file__).parents[2] / "docs/rules.md").read_text(encoding="utf-8")
_SHOWN = [yaml.safe_load(block) for block in re.findall(r"```(?:yaml|text)\n(.*?)```", PAGE, re.DOTALL)]
SETTINGS, _EXAMPLES = _SHOWN[0]["similar"], _SHOWN[1]

# What each example says, its items, and the lists that it names.
EXAMPLES = list(zip(_EXAMPLES[::3], _EXAMPLES[1::3], _EXAMPLES[2::3], strict=True))


def item(name: str, angle: float, in_stock: bool = True, **columns: object) -> Item:
    vector = np.zeros(constraint_items.DIMENSIONS, dtype=np.float32)
    vector[:2] = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    known = {"kind": "shoe", "dept": "wear", "brand": None, "product": None}
    assert set(columns) <= set(known)
    return Item(name, vector, {**known, **columns}, in_stock)


def items_of(example: dict[str, dict[str, Any]]) -> list[Item]:
    return [item(name, **columns) for name, columns in example.items()]


@pytest.mark.parametrize(("says", "items", "lists"), EXAMPLES, ids=[says for says, _, _ in EXAMPLES])
def test_naive_loop_gives_the_lists_of_the_page(
    says: str, items: dict[str, dict[str, Any]], lists: dict[str, list[str]]
) -> None:
    found = constraint_oracle.neighbours(items_of(items), config.SimilarSettings(**SETTINGS))
    assert {name: [other for _, other, _ in found[name]] for name in lists} == lists, says


def test_search_and_check_give_the_lists_of_the_page(
    spark: SparkSession, settings: Callable[..., config.Settings]
) -> None:
    """All examples in one catalogue; the check of every list finds no miss, and one in each list that lost its best."""
    items = constraint_items.side_by_side({f"{n:02d}": items_of(example) for n, (_, example, _) in enumerate(EXAMPLES)})
    chosen = settings(similar={**SETTINGS, "plan": "exact", "recall_sample": 4096})
    with Nights(spark, chosen) as nights:
        found = nights.run(items)
        for n, (says, _, lists) in enumerate(EXAMPLES):
            mine = {name: [other[3:] for other, _ in found.lists.get(f"{n:02d}/{name}", [])] for name in lists}
            assert mine == lists, says
        embeddings, similar_items = nights.tables()
        measured = recall.estimate(embeddings, similar_items, chosen, nights.duplicates())
        assert (measured.items, measured.missed) == (len(items), 0)
        assert measured.pairs == sum(map(len, found.lists.values()))
        spoiled = recall.estimate(embeddings, similar_items.where("rank > 1"), chosen, nights.duplicates())
        assert (spoiled.pairs, spoiled.missed) == (measured.pairs, len(found.lists))
