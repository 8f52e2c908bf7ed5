"""What reaches the terminal, whoever wrote it: usage errors and stack traces too."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from lookalike.cli import streams
from lookalike.cli.main import app
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


@pytest.mark.parametrize(("words", "sink", "code"), [("config", "/dev/full", 1), ("config", None, 0)])
def test_output_that_ends_early_is_one_line_or_none(words: str, sink: str | None, code: int) -> None:
    """A pipe of which nobody reads, and a file on a full disk: the first ends quietly, the second names stdout."""
    if sink is None:
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(sink, os.O_WRONLY)
    command = [sys.executable, "-c", "import sys; from lookalike.cli.main import app; app()", words]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "lib")}
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, env=env)
    os.close(writer)
    assert done.returncode == code
    assert done.stderr.splitlines()[1:] == []
    assert done.stderr.startswith("OutputError: standard output: No space left" if code else "")
