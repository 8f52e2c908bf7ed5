"""The file of `run --result`: written for every end of a run, also one before Spark starts."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result as Ended
from pyarrow import fs
from typer.testing import CliRunner

from lookalike import config, config_file
from lookalike.cli import checks, run, session
from lookalike.cli.main import app
from lookalike.cli.result import Result
from lookalike.errors import GateError, OutputError
from support.drawn import ROOT
from support.pages import table
from support.settings_file import MINIMAL
from support.submit import without_time

PUBLISHED = {"outcome": "published", "release_id": "20261126T021500Z-ab12"}


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A file of settings."""
    file = tmp_path / "shop.yaml"
    file.write_text(MINIMAL)
    return file


@pytest.fixture
def job(settings: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """The command, with a function in place of all that Spark does."""

    def invoke(place: str | Path, work: Callable[[], dict[str, Any]] = lambda: PUBLISHED, *more: str) -> Ended:
        monkeypatch.setattr(checks, "before_run", lambda _: None)
        monkeypatch.setattr(session, "session", lambda *_: nullcontext())
        monkeypatch.setattr(run, "refresh", lambda *_: work())
        return CliRunner().invoke(app, ["run", "--config", str(settings), "--result", str(place), *more])

    return invoke


KEYS = [key for row in table(ROOT / "docs/cluster.md", "The result of a run") for key in re.findall(r"`(\w+)`", row[0])]


def read(place: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(place.read_text())
    assert list(content) == KEYS
    assert content["seconds"] >= 0
    assert content["started_at"] <= (content["ended_at"] or "9")
    return content


def main_keys(content: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(content[key] for key in ("exit_code", "error", "message", "release_id"))


@pytest.mark.parametrize("outcome", ["published", "nothing to do"])
def test_run_that_ends_well(outcome: str, job: Callable[..., Ended], tmp_path: Path) -> None:
    place = tmp_path / "logs/night/result.json"
    assert job(place, lambda: {**PUBLISHED, "outcome": outcome}).exit_code == 0
    assert main_keys(read(place)) == (0, None, outcome, PUBLISHED["release_id"])
    assert [path.name for path in place.parent.iterdir()] == ["result.json"]


def test_while_it_runs_the_file_is_not_that_of_the_night_before(job: Callable[..., Ended], tmp_path: Path) -> None:
    place = tmp_path / "result.json"
    assert job(place).exit_code == 0
    seen = {}

    def work() -> dict[str, Any]:
        seen.update(read(place))
        return PUBLISHED

    assert job(place, work).exit_code == 0
    assert main_keys(seen) == (None, None, "the run has not ended", None)
    assert seen["ended_at"] is None


def raising(error: BaseException) -> Callable[[], dict[str, Any]]:
    def work() -> dict[str, Any]:
        raise error

    return work


def test_named_error(job: Callable[..., Ended], tmp_path: Path) -> None:
    place = tmp_path / "result.json"
    assert job(place, raising(GateError("not published:\n gates.max_failed_share"))).exit_code == 3
    assert main_keys(read(place)) == (3, "GateError", "not published: gates.max_failed_share", None)


def test_defect(job: Callable[..., Ended], tmp_path: Path) -> None:
    place = tmp_path / "result.json"
    assert isinstance(job(place, raising(ZeroDivisionError("s3://user:secret@host"))).exception, ZeroDivisionError)
    code, error, message, _ = main_keys(read(place))
    assert (code, error) == (1, "ZeroDivisionError")
    assert "secret" not in message


def test_signal(job: Callable[..., Ended], tmp_path: Path) -> None:
    place = tmp_path / "result.json"

    def work() -> dict[str, Any]:
        signal.raise_signal(signal.SIGTERM)
        return PUBLISHED

    assert job(place, work).exit_code == 143
    assert main_keys(read(place)) == (143, None, "stopped by SIGTERM", None)


def test_output_that_fails_after_the_work(
    job: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run.output, "print_json", lambda _: raising(OutputError("standard output"))())
    place = tmp_path / "result.json"
    assert job(place, lambda: PUBLISHED, "--json").exit_code == 1
    assert main_keys(read(place)) == (1, "OutputError", "standard output", PUBLISHED["release_id"])


@pytest.mark.parametrize("text", ["catalogue: [", "similar: {kk: 3}", None])
def test_settings_that_are_wrong(text: str | None, settings: Path, job: Callable[..., Ended], tmp_path: Path) -> None:
    place = tmp_path / "result.json"
    settings.write_text(text) if text else settings.unlink()
    assert job(place).exit_code == 2
    code, error, message, release = main_keys(read(place))
    assert (code, error, release) == (2, "ConfigError", None)
    assert str(settings) in message


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("", "'catalogue' is missing"), ("similar: {kk: 3}", "unknown key 'similar.kk'")],
)
def test_store_of_the_settings_is_used_where_another_section_is_wrong(
    wrong: str, message: str, settings: Path, job: Callable[..., Ended], endpoint: str
) -> None:
    store = fs.S3FileSystem(endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True)
    store.create_dir("results")
    settings.write_text(f"stores: {{s3_endpoint: '{endpoint}', s3_region: us-east-1}}\n{wrong}")
    assert job("s3://results/nights/result.json").exit_code == 2
    with store.open_input_stream("results/nights/result.json") as file:
        content = json.loads(file.read())
    assert (content["exit_code"], content["error"]) == (2, "ConfigError")
    assert message in content["message"]


def test_object_of_a_store_holds_how_a_run_ended(settings: Path, job: Callable[..., Ended], endpoint: str) -> None:
    store = fs.S3FileSystem(endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True)
    store.create_dir("ends")
    overrides = [f"stores.s3_endpoint={endpoint}", "stores.s3_region=us-east-1"]
    words = [word for override in overrides for word in ("--set", override)]
    assert job("s3://ends/result.json", lambda: PUBLISHED, *words).exit_code == 0
    with store.open_input_stream("ends/result.json") as file:
        assert json.loads(file.read())["release_id"] == PUBLISHED["release_id"]
    done = job("s3://no-such-bucket/result.json", lambda: PUBLISHED, *words)
    assert done.exit_code == 2
    assert without_time(done.output).startswith("ConfigError: --result s3://no-such-bucket/result.json: ")
    assert "check the bucket's name" in done.output


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("folder/", "give the path of a file"),
        (".", "what is there is no file"),
        ("hdfs://node/result.json", "give the path of a file"),
        ("https://shop.example/result.json", "give the path of a file"),
        ("s3://user:password@bucket/result.json", "credentials belong in the environment"),
        ("shop.yaml/result.json", "File exists"),
    ],
)
def test_place_that_cannot_hold_a_file_ends_the_run_before_it_begins(
    place: str, said: str, job: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = job(place, raising(AssertionError("it has begun")))
    assert done.exit_code == 2
    assert without_time(done.output).startswith("ConfigError: --result ")
    assert said in done.output
    assert "password" not in done.output.replace("a password or", "")
    assert done.output.count("\n") == 1


def test_pipe_is_not_replaced(job: Callable[..., Ended], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert job(tmp_path / "pipe").exit_code == 2
    assert (tmp_path / "pipe").is_fifo()


def test_place_that_is_lost_in_mid_run(job: Callable[..., Ended], tmp_path: Path) -> None:
    """A run that has published ends with 1, one that failed with its own code; both say it."""
    place = tmp_path / "result.json"

    def lose(then: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
        def work() -> dict[str, Any]:
            place.unlink()
            place.mkdir()
            return then()

        return work

    done = job(place, lose(lambda: PUBLISHED))
    assert done.exit_code == 1
    assert without_time(done.output) == (
        f"OutputError: --result {place}: what is there is no file; give the path of one; the work of the run is done\n"
    )
    place.rmdir()
    done = job(place, lose(raising(GateError("refused"))))
    assert done.exit_code == 3
    assert [without_time(line) for line in done.output.splitlines()] == [
        "GateError: refused",
        f"--result {place}: what is there is no file; give the path of one",
    ]


def test_run_without_the_option_writes_nothing(settings: Path, tmp_path: Path) -> None:
    kept = Result(None, settings, ())
    kept.write_start()
    kept.write_success("published", "a")
    assert [path.name for path in tmp_path.iterdir()] == ["shop.yaml"]


def test_stores_are_the_defaults_where_no_settings_can_be_read(tmp_path: Path) -> None:
    assert config_file.load_stores(tmp_path / "none.yaml") == config.StoreSettings()
    (tmp_path / "wrong.yaml").write_text("stores: {s3_endpoint: 7}")
    assert config_file.load_stores(tmp_path / "wrong.yaml") == config.StoreSettings()
