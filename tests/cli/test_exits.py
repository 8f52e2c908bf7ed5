"""How a command ends: exit codes, the one line of a named error, signals."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
from pathlib import Path

import pytest
import typer

from lookalike import errors
from lookalike.cli import exits, output


def end_of(error: BaseException, *, as_json: bool = False) -> int:
    """The exit code of a command that ends with an error."""
    with pytest.raises(typer.Exit) as ended, exits.exit_code(as_json=as_json):
        raise error
    return ended.value.exit_code


def test_command_that_ends_well_raises_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with exits.exit_code(as_json=True):
        print("done")
    assert capsys.readouterr() == ("done\n", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigError, 2),
        (errors.CatalogueError, 2),
        (errors.ModelError, 2),
        (errors.WarehouseError, 2),
        (errors.QueryError, 2),
        (errors.GateError, 3),
        (errors.LockError, 1),
        (errors.SessionError, 1),
    ],
)
def test_named_error_is_one_line_and_its_code(
    error: type[errors.LookalikeError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of(error("what\n  happened")) == code
    assert capsys.readouterr() == ("", f"{error.__name__}: what happened\n")


def test_control_characters_of_an_error_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert end_of(errors.QueryError("item '\x1b[31m'")) == 2
    assert capsys.readouterr().err == "QueryError: item '\\x1b[31m'\n"


def test_named_error_is_an_object_for_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert end_of(errors.GateError("refused"), as_json=True) == 3
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": {"name": "GateError", "message": "refused", "exit_code": 3}}
    assert err == "GateError: refused\n"


class Unwritable(io.StringIO):
    """An output that gives an error for whatever is written, as a pipe or a file does when it is flushed."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, _text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(errno.EPIPE, None, ""), (errno.ENOSPC, 1, "OutputError: standard output: No space left on device;")],
)
def test_output_that_cannot_be_written_is_not_taken_for_the_warehouse(
    number: int, code: int | None, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout", Unwritable(number))
    ended = None
    try:
        with exits.exit_code(as_json=True):
            output.line("a figure")
    except typer.Exit as exit_:
        ended = exit_.exit_code
    assert ended == code
    assert capsys.readouterr().err.startswith(said)


def test_log_that_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Unwritable(errno.ENOSPC))
    assert end_of(errors.QueryError("item")) == 2


def strerror(code: int) -> OSError:
    return OSError(code, os.strerror(code), "/warehouse/x")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (strerror(errno.ENOSPC), "DiskError: No space left on device (/warehouse/x); free bytes and inodes"),
        (strerror(errno.EDQUOT), "DiskError: Disk quota exceeded (/warehouse/x); free"),
        (strerror(errno.EFBIG), "DiskError: File too large (/warehouse/x); raise the limit"),
        (strerror(errno.EIO), "DiskError: Input/output error (/warehouse/x); look into the log"),
        (strerror(errno.EROFS), "DiskError: Read-only file system (/warehouse/x); mount it"),
        (strerror(errno.EACCES), "DiskError: Permission denied (/warehouse/x); give this user the right"),
        (strerror(errno.ENOENT), "DiskError: No such file or directory (/warehouse/x); it was removed"),
        (strerror(errno.EMFILE), "DiskError: Too many open files (/warehouse/x); raise the limit"),
        (strerror(errno.ENODEV), "DiskError: No such device (/warehouse/x); repair that, and run again"),
        (MemoryError(), "DiskError: Cannot allocate memory; free memory"),
        (Exception("Unable to write: No space left on device (28)"), "DiskError: No space left on device; free"),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else one[11:30],
)
def test_what_the_system_refuses_is_one_line(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The stack trace is in the file that was asked for, without secrets."""
    log = tmp_path / "log"
    monkeypatch.setenv("LOOKALIKE_LOG", str(log))
    assert end_of(error) == 1
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1
    assert "Traceback" in log.read_text()
    assert str(error) in log.read_text()


def test_python_without_pyspark_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """As that of the packed driver, where nothing else submits the job."""
    assert end_of(ModuleNotFoundError("No module named 'pyspark'", name="pyspark")) == 1
    assert capsys.readouterr().err.startswith(
        "SessionError: this Python has no pyspark; submit the job with spark-submit"
    )
    with pytest.raises(ModuleNotFoundError), exits.exit_code():
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")


def test_defect_keeps_its_stack_trace() -> None:
    with pytest.raises(ZeroDivisionError), exits.exit_code():
        _ = 1 / 0


@pytest.mark.parametrize("number", exits.STOPPING)
def test_signal_ends_the_command_with_128_and_its_number(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    cleaned = []
    former = signal.signal(number, signal.default_int_handler)  # the tests may run below nohup
    before = signal.getsignal(number)

    def command() -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)  # a second one does not disturb the clean-up
            cleaned.append(True)

    with pytest.raises(typer.Exit) as ended, exits.exit_code():
        command()
    assert ended.value.exit_code == 128 + number
    assert capsys.readouterr().err == f"stopped by {number.name}\n"
    assert cleaned == [True]
    assert signal.getsignal(number) is before
    signal.signal(number, former)


def test_error_that_a_signal_caused_is_not_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """The JVM gets the signal too, and what Python then meets is a broken connection."""

    def command() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise ConnectionError("the JVM is gone") from None

    with pytest.raises(typer.Exit) as ended, exits.exit_code():
        command()
    assert ended.value.exit_code == 143
    assert capsys.readouterr().err == "stopped by SIGTERM\n"


def test_sigint_that_a_shell_lets_its_background_ignore_stops_the_command() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(typer.Exit) as ended, exits.exit_code():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.exit_code == 130


def test_sighup_that_is_ignored_stays_ignored() -> None:
    """As below nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with exits.exit_code():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_interrupt_that_another_handler_raised_is_one_of_the_user(capsys: pytest.CaptureFixture[str]) -> None:
    """Spark has a handler of its own while it starts."""
    assert end_of(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "stopped by SIGINT\n"
