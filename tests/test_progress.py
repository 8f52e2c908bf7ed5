"""Lines that a run prints: its steps in one column, and the progress of an action in a log."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any

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
    said, end = "", time.monotonic() + 30
    with Steps().step("model", "compiles"):
        while said.count("\n") < 3 and time.monotonic() < end:
            time.sleep(0.01)
            said += capsys.readouterr().err
    first, *signs = said.splitlines()
    assert first == "     model: compiles"
    assert signs
    assert all(re.fullmatch(r" {12}model still runs, \d s so far", line) for line in signs)


def test_silence_before_a_wait_is_none_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_last_written", time.monotonic() - 100)
    with progress.signs_of_life("the wait"):
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


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


TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"


def test_line_of_a_log_begins_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.written_as("timed"), Steps().step("read", "the catalogue"):
        say_detail("a figure")
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"{TIME}Z       read: the catalogue", first)
    assert re.fullmatch(rf"{TIME}Z {{13}}a figure", second)
    progress.say("afterwards")
    assert capsys.readouterr().err == "afterwards\n"


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_each_line_is_an_object_for_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.written_as("json"):
        with Steps().step("embed", "pictures"), Progress(3, "pictures", lambda: 4, lambda: 1):
            say_detail("two failed", "tasks_failed", "warning", host="w1", tasks=2)
        progress.say("the end")
    found = objects(capsys.readouterr().err)
    assert all(re.fullmatch(rf"{TIME}\.\d\d\dZ", one.pop("time")) for one in found)
    step, failed, action, ended, last = found
    assert step == {"level": "info", "step": "embed", "event": "step", "message": "pictures"}
    assert failed == {
        "level": "warning",
        "step": "embed",
        "event": "tasks_failed",
        "message": "two failed",
        "host": "w1",
        "tasks": 2,
    }
    assert {name: action[name] for name in ("event", "unit", "done", "total", "failed")} == {
        "event": "progress",
        "unit": "pictures",
        "done": 3,
        "total": 3,
        "failed": 1,
    }
    assert (ended["event"], list(ended)[-1]) == ("step_end", "seconds")
    assert (last["step"], last["message"]) == (None, "the end")


def test_texts_of_an_object_have_no_secrets_and_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = 's3://user:pw@host/x?token=abc "quoted" \\ \x1b[2J\r\n\u2028{}'
    with progress.written_as("json"):
        say_detail(hostile, host=hostile)
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert printed.strip().isprintable()
    (found,) = objects(printed)
    for text in (found["message"], found["host"]):
        assert text.startswith('s3://…@host/x?… "quoted"')
        assert "pw" not in text
        assert "abc" not in text
        assert text.isprintable()


def test_line_that_comes_while_a_terminal_shows_progress_has_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Progress(3, "pictures", lambda: 1, lambda: 0)
    running._terminal = True
    running._show(end="")
    say_detail("an executor is lost")
    running._show(end="\n")
    progress.say("next")
    lines = [line.strip("\r ") for line in capsys.readouterr().err.rstrip("\n").split("\n")]
    starts = ("33%", "an executor", "33%", "next")
    assert [line.startswith(start) for line, start in zip(lines, starts, strict=True)] == [True] * 4
