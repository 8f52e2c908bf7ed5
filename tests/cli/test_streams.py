"""What reaches the terminal, whoever wrote it: usage errors and stack traces too."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
import typer

from lookalike import progress
from lookalike.cli import exits, streams
from lookalike.cli.main import app
from lookalike.errors import ConfigError
from support.drawn import ROOT


def safe_streams(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """What comes out of stdout and stderr, on a terminal that knows no letters but ASCII's."""
    out = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(out, encoding="ascii", write_through=True))
    streams.make_safe()
    return out


def test_what_the_terminal_cannot_show_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = safe_streams(monkeypatch)
    print("M\xf6bel \udcff")
    assert printed.getvalue() == b"M\\xf6bel \\udcff\n"


def test_secrets_and_control_characters_are_cut_and_lines_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = safe_streams(monkeypatch)
    sys.stderr.writelines(["\rhalf\r\n", "\tat https://u:pw@h/x?k=secret \x1b[2J\n"])
    print("https://shop/p?id=5&sig=ab")
    assert (
        printed.getvalue() == b"\rhalf\\r\n\tat https://\\u2026@h/x?\\u2026 \\x1b[2J\nhttps://shop/p?id=5&sig=\\u2026\n"
    )


@pytest.mark.parametrize("words", [["show", "--n\x1b[31m"], ["\u202eshow"], ["demo", "--items", "\x9b2"]])
def test_usage_error_repeats_no_control_character(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    printed = safe_streams(monkeypatch)
    with pytest.raises(SystemExit) as ended:
        app(words)
    assert ended.value.code == 2
    assert not {0x1B, 0x9B} & set(printed.getvalue())
    assert b"Error" in printed.getvalue()


@pytest.mark.parametrize(
    ("words", "stream", "full", "code", "said"),
    [
        ("config", "stdout", False, 0, ""),
        ("config", "stdout", True, 1, "OutputError: standard output: No space left on device;"),
        ("show --config none.yaml", "stderr", False, 2, ""),
        ("show --config none.yaml", "stderr", True, 2, ""),
    ],
)
def test_output_that_ends_early_is_one_line_or_none(words: str, stream: str, full: bool, code: int, said: str) -> None:
    """A pipe of which nobody reads, or a file on a full disk: no stack, and no other exit code when Python ends."""
    reader, writer = os.pipe()
    os.close(reader)
    streams_of = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with open(writer, "wb") as unread, open("/dev/full", "wb") as disk:
        sink = disk if full else unread
        command = [sys.executable, "-c", "from lookalike.cli.main import app; app()", *words.split()]
        env = {**os.environ, "PYTHONPATH": str(ROOT / "lib")}
        done = subprocess.run(command, **{**streams_of, stream: sink}, text=True, check=False, env=env)
    assert done.returncode == code
    assert [line.startswith(said) for line in (done.stderr or "").splitlines()] == [True] * bool(said)


def test_lines_of_a_log_have_times_and_those_of_a_terminal_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = safe_streams(monkeypatch)
    with streams.log_as("text"):
        progress.say("in a log")
    monkeypatch.setattr(sys.stderr._stream, "isatty", lambda: True, raising=False)  # type: ignore[attr-defined]
    with streams.log_as("text"):
        progress.say("in a terminal")
    first, second = printed.getvalue().decode().splitlines()
    assert first[10] == "T"
    assert first.endswith("Z in a log")
    assert second == "in a terminal"


def test_whatever_comes_to_stderr_is_an_object_and_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = safe_streams(monkeypatch)
    with streams.log_as("json"):
        progress.say("read https://u:pw@h/x?k=secret", "note", place="token=secret")
        print("of a library: https://u:pw@h/x?k=secret\x1b[2J", file=sys.stderr)
    print("after", file=sys.stderr)
    *lines, last = printed.getvalue().decode().splitlines()
    assert last == "after"
    found = [json.loads(line) for line in lines]
    assert [one["event"] for one in found] == ["note", "output"]
    assert found[0]["place"] == "token=…"
    assert found[1]["message"].startswith("of a library: https://…@h/x?…")
    assert not any(word in line for word in ("pw", 'secret"', "k=", "\x1b") for line in lines)


@pytest.mark.parametrize(
    ("error", "code", "last"),
    [(ConfigError("bad"), 2, "ConfigError: bad"), (ZeroDivisionError("x"), 1, "ZeroDivisionError: x")],
)
def test_errors_are_objects_too_and_a_defect_with_its_stack(
    error: Exception, code: int, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = safe_streams(monkeypatch)
    with pytest.raises(typer.Exit) as ended, streams.log_as("json"), exits.exit_code():
        raise error
    assert ended.value.exit_code == code
    found = [json.loads(line) for line in printed.getvalue().decode().splitlines()]
    assert found[-1]["message"] == last
    if code == 2:
        assert [(one["event"], one["level"], one["name"], one["exit_code"]) for one in found] == [
            ("error", "error", "ConfigError", 2)
        ]
