"""Lines that a run prints: its steps in one column, and the progress of an action in a log."""

from __future__ import annotations

import os
import re
import time

import pytest

from lookalike import progress
from lookalike.models import silence
from lookalike.progress import Progress, Steps, say_detail


def test_names_of_steps_end_in_one_column_and_details_begin_behind_them(capsys: pytest.CaptureFixture[str]) -> None:
    steps = Steps()
    for name in ("read", "neighbours"):
        with steps.step(name, "what it does"):
            say_detail("a figure")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "      read: what it does",
        " " * 12 + "a figure",
        "neighbours: what it does",
        " " * 12 + "a figure",
    ]


def test_seconds_of_a_step_are_kept_in_order_and_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.5, 2.0, 2.25, 3.0, 3.5])
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    steps = Steps()
    for name in ("read", "embed", "read"):
        with steps.step(name, "again"):
            pass
    assert list(steps.seconds.items()) == [("read", 2.0), ("embed", 0.25)]


def test_step_that_fails_keeps_its_seconds() -> None:
    steps = Steps()
    with pytest.raises(LookupError), steps.step("read", "fails"):
        raise LookupError
    assert list(steps.seconds) == ["read"]


def test_finished_action_prints_its_total_and_its_failures(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3, "pictures", lambda: 4, lambda: 1):  # 4 of 3: a task that ran twice
        pass
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(" " * 12 + "3/3 [")
    assert "1 failed" in line
    assert "pictures" in line


def test_slow_action_counts_pictures_a_second_too(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3, "pictures", lambda: 3, lambda: 0) as running:
        running._start -= 10
    assert "0.30 pictures/s" in capsys.readouterr().err


def test_failed_action_prints_no_total(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LookupError), Progress(3, "pictures", lambda: 1, lambda: 0):
        raise LookupError
    assert capsys.readouterr().err == ""


def test_progress_moves_while_the_action_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0.001)
    done = iter(range(1000))
    with Progress(5, "pictures", lambda: min(next(done), 5), lambda: 0) as running:
        while next(done) < 5:
            running._stop.wait(0.001)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 1
    assert "5/5" in lines[-1]


def test_step_that_says_nothing_shows_that_it_still_runs_in_lines_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SILENT_SECONDS", 0.05)
    with Steps().step("model", "compiles"):
        time.sleep(0.5)
    first, *signs = capsys.readouterr().err.splitlines()
    assert first == "     model: compiles"
    assert signs
    assert all(re.fullmatch(r" {12}model still runs, \d s so far", line) for line in signs)


def test_step_that_talks_needs_no_sign_of_life(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SILENT_SECONDS", 10)
    with Steps().step("model", "compiles"):
        time.sleep(0.02)
    assert capsys.readouterr().err == "     model: compiles\n"


def test_what_is_said_while_the_output_goes_nowhere_is_printed_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    with silence.native_output():
        progress.say("of another thread")
        os.write(2, b"of a library\n")
    progress.say("later")
    assert capfd.readouterr().err == "of another thread\nlater\n"
