"""Figures for Prometheus: by its own parser, after each end of a run, and after a rollback."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lookalike.errors import SinkError
from lookalike.failures import REASONS
from lookalike.sinks.metrics import Metrics
from lookalike.sinks.run_end import OUTCOMES, RunEnd, outcome_of
from support import records
from support.published import FIRST, SECOND, Shelf

NIGHT = datetime(2026, 1, 2, 3, tzinfo=UTC)
Figures = dict[tuple[str, str], float]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path, {"metrics": str(tmp_path / "made" / "shop.prom")})


def figures(shelf: Shelf) -> Figures:
    """The values by name and by the label besides that of the warehouse."""
    text = Path(shelf.publish["metrics"]).read_text(encoding="utf-8")
    found: Figures = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation.endswith(".")
        for sample in family.samples:
            assert sample.labels.pop("warehouse") == shelf.warehouse.name
            label = sample.labels.get("release_id") or next(iter(sample.labels.values()), "")
            found[sample.name, label] = sample.value
    return found


def end(shelf: Shelf, exit_code: int, hours: int, *, of_release: bool = True) -> Figures:
    """The figures after a run that ended so many hours later."""
    ended = NIGHT + timedelta(hours=hours)
    outcome = "published" if not exit_code else outcome_of(exit_code)
    current = records.record("r1", counts={**records.COUNTS, "failed_by_reason": {"empty": 2}}) if of_release else None
    sink = Metrics(shelf.warehouse, shelf.publish["metrics"])
    sink.end_run(RunEnd(outcome, exit_code, ended - timedelta(seconds=90), ended), current)
    return figures(shelf)


def test_run_that_published(shelf: Shelf) -> None:
    found = end(shelf, 0, 1)
    assert found["lookalike_last_success_timestamp_seconds", ""] == (NIGHT + timedelta(hours=1)).timestamp()
    assert found["lookalike_last_run_duration_seconds", ""] == 90
    outcomes = {label: value for (name, label), value in found.items() if name == "lookalike_last_run_outcome"}
    assert outcomes == {one: float(one == "published") for one in OUTCOMES}
    assert found["lookalike_release_items", ""] == 3
    failed = {label: value for (name, label), value in found.items() if name == "lookalike_release_failed_items"}
    assert failed == {**dict.fromkeys(REASONS, 0), "empty": 2}
    assert found["lookalike_release_info", "r1"] == 1


@pytest.mark.parametrize(("exit_code", "outcome"), [(1, "failed"), (2, "failed"), (3, "refused"), (143, "stopped")])
def test_run_that_failed_keeps_when_one_last_succeeded(shelf: Shelf, exit_code: int, outcome: str) -> None:
    end(shelf, 0, 1)
    for hours in (25, 49):
        found = end(shelf, exit_code, hours)
        assert found["lookalike_last_success_timestamp_seconds", ""] == (NIGHT + timedelta(hours=1)).timestamp()
        assert found["lookalike_last_run_timestamp_seconds", ""] == (NIGHT + timedelta(hours=hours)).timestamp()
        assert found["lookalike_last_run_outcome", outcome] == 1
        assert found["lookalike_last_run_exit_code", ""] == exit_code
        assert found["lookalike_release_items", ""] == 3


def test_first_run_that_failed_has_no_release_and_no_success(shelf: Shelf) -> None:
    found = end(shelf, 2, 1, of_release=False)
    assert {name for name, _ in found} == {
        f"lookalike_last_run_{name}" for name in ("timestamp_seconds", "duration_seconds", "exit_code", "outcome")
    }


def test_rollback_shows_the_other_release_and_the_same_run(shelf: Shelf) -> None:
    shelf.put(FIRST)
    shelf.put(SECOND)
    end(shelf, 0, 1)
    shelf.run("rollback")
    found = figures(shelf)
    assert found["lookalike_release_info", FIRST] == 1
    assert found["lookalike_last_run_duration_seconds", ""] == 90
    assert found["lookalike_last_run_outcome", "published"] == 1


@pytest.mark.parametrize("text", ["", "nonsense {", "lookalike_last_run_exit_code 7\n"], ids=["empty", "none", "other"])
def test_file_of_somebody_else_is_replaced(shelf: Shelf, text: str) -> None:
    path = Path(shelf.publish["metrics"])
    path.parent.mkdir()
    path.write_text(text)
    assert end(shelf, 2, 1)["lookalike_last_run_exit_code", ""] == 2
    assert [one.name for one in path.parent.iterdir()] == ["shop.prom"]


def test_place_that_cannot_be_written_is_named(shelf: Shelf) -> None:
    Path(shelf.publish["metrics"]).parent.write_text("no folder")
    with pytest.raises(SinkError, match=r"publish\.metrics: .*shop\.prom cannot be written"):
        end(shelf, 0, 1)
    shelf.put(FIRST)
    assert shelf.refusal("publish").endswith("; then run `lookalike releases publish`")
