"""Label precision on a sample of lists, by hand-computed numbers."""

from __future__ import annotations

import pytest

from lookalike.quality import labels
from lookalike.warehouse.record import LabelPrecision

COLOURS = {"a": "red", "b": "red", "c": "blue", "d": "", "e": "red"}


def lists(**named: str) -> dict[str, list[tuple[str, float]]]:
    """The lists of items by one-letter ids."""
    return {item: [(other, 0.5) for other in others] for item, others in named.items()}


@pytest.mark.parametrize(
    ("listed", "k", "precision", "chance", "items"),
    [
        # a: b has its label, c has not, d has none and does not count; of a, b and c one pair of three is the same
        (lists(a="bcd", b="ae", c="a", d="ab"), 3, 0.6, 0.3333, 3),
        (lists(a="bcd", b="ae", c="a", d="ab"), 1, 0.6667, 0.3333, 3),
        (lists(a="d"), 3, 0.0, 0.0, 1),  # of no pair, and of one item
        (lists(a="x"), 3, 0.0, 0.0, 1),  # x is not there
        (lists(d="ab"), 3, 0.0, 0.0, 0),
    ],
)
def test_precision_is_that_of_pairs_with_labels_next_to_chance(
    listed: dict[str, list[tuple[str, float]]], k: int, precision: float, chance: float, items: int
) -> None:
    found = labels.precision(listed, labels.Labels.of("colour", COLOURS), k)
    assert found == LabelPrecision(column="colour", k=k, precision=precision, chance=chance, items=items)
