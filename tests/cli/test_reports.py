"""What a run tells besides its exit code, at ends that need no Spark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from lookalike.cli.exits import End
from lookalike.cli.main import app
from lookalike.cli.reports import Reports
from support.published import FIRST, Shelf


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    publish = {"metrics": str(tmp_path / "shop.prom"), "openlineage": str(tmp_path / "events.jsonl")}
    return Shelf(tmp_path, publish)


def outcome(shelf: Shelf) -> str:
    """The outcome of the last run, as Prometheus sees it."""
    lines = Path(shelf.publish["metrics"]).read_text().splitlines()
    (line,) = [one for one in lines if one.startswith("lookalike_last_run_outcome") and one.endswith(" 1.0")]
    return line.partition('outcome="')[2].partition('"')[0]


def events(shelf: Shelf) -> list[str]:
    text = Path(shelf.publish["openlineage"]).read_text()
    return [json.loads(line)["eventType"] for line in text.splitlines()]


def test_run_that_is_refused_before_spark_starts_is_told(shelf: Shelf) -> None:
    file = shelf.folder / "shop.yaml"
    raw = shelf.settings.model_dump(mode="json", include={"catalogue", "warehouse", "publish"})
    file.write_text(yaml.safe_dump(raw))
    done = CliRunner().invoke(app, ["run", "--config", str(file)])
    assert done.exit_code == 2
    assert "there is no file, folder or table" in done.output
    assert (outcome(shelf), events(shelf)) == ("failed", ["START", "FAIL"])


def test_end_that_nobody_can_be_told_leaves_the_exit_code(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    reports = Reports()
    reports.start(shelf.settings)
    Path(shelf.publish["metrics"]).mkdir()
    reports.fail(End(3, "GateError", "refused"))
    assert capsys.readouterr().err.startswith("publish.metrics: ")
    assert events(shelf) == ["START", "FAIL"]


def test_release_of_another_run_is_none_of_this_one(shelf: Shelf) -> None:
    """A run that fails, and one with nothing to do, wrote no table."""
    shelf.put(FIRST)
    reports = Reports()
    reports.start(shelf.settings)
    reports.succeed(published=False)
    assert outcome(shelf) == "nothing_to_do"
    last = json.loads(Path(shelf.publish["openlineage"]).read_text().splitlines()[-1])
    assert (last["eventType"], last["outputs"]) == ("COMPLETE", [])


def test_run_that_is_asked_for_none_tells_nobody(shelf: Shelf) -> None:
    shelf.publish = {}
    reports = Reports()
    reports.start(shelf.settings)
    reports.succeed(published=True)
    reports.fail(End(1))
    assert [path.name for path in shelf.folder.iterdir()] == []
