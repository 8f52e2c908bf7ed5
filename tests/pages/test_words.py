"""What the page says in words."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lookalike.pages import words
from lookalike.quality import gates as quality_gates
from lookalike.warehouse.record import LabelPrecision
from support import records
from support.small_release import make_record, make_settings


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0, "0 %"),
        (0.000_001, "less than 0.01 %"),
        (0.000_4, "0.04 %"),
        (0.004, "0.4 %"),
        (0.05, "5 %"),
        (0.123, "12 %"),
        (0.997, "99.7 %"),
        (0.999_999, "more than 99.99 %"),
        (1, "100 %"),
    ],
)
def test_share_is_read_as_percent_and_a_little_is_not_nothing(share: float, expected: str) -> None:
    assert words.percent(share) == expected


def test_date_is_one_that_people_read() -> None:
    moment = datetime(2026, 11, 26, 2, 5, tzinfo=UTC)
    assert words.date(moment) == "Thursday, 26 November 2026, 02:05 UTC"
    assert words.short_date(moment) == "26 Nov"


def test_counts_stand_next_to_those_of_the_release_before(tmp_path: Path) -> None:
    now = make_record(tmp_path)
    before = make_record(tmp_path, counts={**records.COUNTS, "items": 1_500, "without_neighbours": 2}, changes=None)
    found = {one.label: (one.value, one.before) for one in words.counts(now, before)}
    assert found == {
        "items": ("4", "1,500"),
        "new": ("2", "unknown"),  # the release before was made by a version that did not count them
        "changed": ("0", "unknown"),
        "removed": ("0", "unknown"),
        "failed": ("1", "0"),
        "without neighbours": ("0", "2"),
    }


def test_every_gate_has_words_of_its_own_and_refusals_come_first(tmp_path: Path) -> None:
    found = quality_gates.gates(
        records.figures(recall=0.5, recall_low=0.4, hub_recommended=30), make_settings(tmp_path)
    )
    said = words.gates(found)
    assert {one.key for one in found} == set(words.GATES)
    assert [one.passed for one in said] == sorted(one.passed for one in said)
    first = said[0]
    assert (first.key, first.measured, first.bound) == ("similar.recall_floor", "0.4", "at least 0.99")
    assert "similar.plan: exact" in first.advice
    hub = next(one for one in said if one.key == "gates.max_hub")
    assert (hub.measured, hub.bound, hub.advice) == ("1.5", "at most 50", "")


def test_label_precision_is_compared_where_the_release_before_measured_the_same(tmp_path: Path) -> None:
    def measured(column: str, k: int, precision: float) -> LabelPrecision:
        return LabelPrecision(column=column, k=k, precision=precision, chance=0.25, items=9)

    then = (measured("colour", 10, 0.75), measured("kind", 5, 0.5))
    before = make_record(tmp_path, counts={**records.COUNTS, "labels": then})
    now = (measured("colour", 10, 0.8), measured("kind", 10, 0.4))
    found = words.label_words(now, before)
    assert [(one.precision, one.chance, one.before) for one in found] == [
        ("0.800", "0.250", "0.750"),
        ("0.400", "0.250", "none"),  # of fewer neighbours
    ]
    assert [one.before for one in words.label_words(now, None)] == ["none", "none"]


def test_column_without_values_has_no_precision_and_says_so() -> None:
    found = words.label_words([_measured("colour", 2_000), _measured("null", 0), _measured("rare", 1)], None)
    assert [(one.precision, one.chance, one.items) for one in found] == [
        ("0.500", "0.250", ""),
        ("none", "none", "on 0 items"),
        ("0.500", "0.250", "on 1 item"),
    ]


def _measured(column: str, items: int) -> LabelPrecision:
    return LabelPrecision(column=column, k=10, precision=0.5, chance=0.25, items=items)


@pytest.mark.parametrize(("pictures", "said"), [(1_234.5, "1,234"), (9.6, "9.6"), (0.123, "0.12"), (0, "0")])
def test_slow_run_is_not_one_of_no_pictures(pictures: float, said: str) -> None:
    assert words.rate(pictures) == said
