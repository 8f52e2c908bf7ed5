"""Night after night the lists are those of a run from nothing and of the rules, whatever comes, goes or changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.neighbours import incremental
from lookalike.quality import recall
from support import constraint_oracle
from support.constraint_items import item, signs
from support.constraint_oracle import Item
from support.nights import Found, Nights, from_nothing
from support.random_nights import RandomCatalogue, random_rules
from support.stories import LONG, stories

Build = Callable[..., config.Settings]


def assert_right(found: Found, items: Sequence[Item], rules: config.SimilarSettings) -> None:
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
    spark: SparkSession, settings: Build, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of C changes, and yet it takes the place of B in lists, and gives it back; by a search of all at last."""
    rules: dict[str, Any] = {"k": 70, "variant_of": "product", "duplicate_cosine": 0.99, "plan": "exact"}
    chosen = settings(similar=rules, index={"trees": 1})
    with Nights(spark, chosen) as nights:
        for number, shown in enumerate(([B, C], [A, B, C], [B, C], [A, B, C])):
            items = [*shown, *crowd()]
            monkeypatch.setattr(incremental, "MAX_CHANGED", 1 if number == 3 else 500_000)
            found = nights.run(items)
            assert_right(found, items, chosen.similar)
            assert (found.searched < len(items) / 2) == (number in (1, 2))
            said = capsys.readouterr().err
            assert ("all lists are searched again, as in a first run: more than 1 items changed" in said) == (
                number == 3
            )


# Catalogues in one: a night of twenty takes little longer than one of six.
CATALOGUES = 20 if LONG else 6

# Lists that were compared with the rules, which `make test-long` prints.
COMPARED = {"lists": 0, "updated": 0}


@pytest.mark.stories
def test_lists_follow_any_changes_by_any_rules(spark: SparkSession, settings: Build) -> None:
    """Several catalogues in one, apart where there are groups: the lists of each are those of its own items."""

    @stories(2)
    @given(st.integers(0, 1 << 30), st.booleans())
    def check(seed: int, exact: bool) -> None:
        rng = np.random.default_rng(seed)
        rules = random_rules(rng, exact=exact)
        note(f"{rules}")
        names = [f"{n}" for n in range(CATALOGUES if "group_by" in rules else 1)]
        catalogues = [RandomCatalogue(rng, name, name == "0", exact) for name in names]
        warehouse = {"path": f"{settings().warehouse.path}-{seed}"}
        build = {"warehouse": warehouse, "index": {"trees": 1, "shard_items": int(rng.choice([20, 1000]))}}
        chosen = settings(similar={**rules, "recall_sample": 4096}, **build)
        with Nights(spark, chosen) as nights:
            for night in range(3):
                parts = [list(catalogue.night()) for catalogue in catalogues]
                items = [one for part in parts for one in part]
                found = nights.run(items)
                note(f"night {night}")
                for part in parts:
                    assert_follows(found.of(part), part, chosen.similar, exact=exact)
                COMPARED["lists"] += len(items)
                COMPARED["updated"] += len(items) - found.searched
            measured = recall.estimate(*nights.tables(), chosen, nights.duplicates())
            assert (measured.missed, measured.items) == (0, len(items))
        if not exact:
            assert from_nothing(spark, chosen, items) == replace(found, searched=len(items))

    check()
    print(f"compared with the rules: {COMPARED}")


def assert_follows(found: Found, items: Sequence[Item], rules: config.SimilarSettings, *, exact: bool) -> None:
    """Check the lists of one catalogue: to the last bit where its cosines are exact."""
    if exact:
        assert_right(found, items, rules)
    else:
        constraint_oracle.assert_same(found.lists, items, rules)
        constraint_oracle.assert_same_duplicates(found.duplicates, items, rules)
