"""The command as a whole: its commands, its help, completion, the jobs of spark-submit, and what it imports."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lookalike.cli.main import app
from lookalike.version import VERSION
from support.drawn import ROOT
from support.submit import without_time

RUNNER = CliRunner()
COMMANDS = ("init", "run", "show", "why", "releases", "demo", "doctor", "config")


def test_version_is_that_of_the_package() -> None:
    done = RUNNER.invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"lookalike {VERSION}\n")


def test_help_names_every_command() -> None:
    done = RUNNER.invoke(app, ["--help"])
    assert done.exit_code == 0
    assert [name for name in COMMANDS if f"\n  {name} " not in done.stdout] == []


def test_help_shows_the_defaults() -> None:
    said = " ".join(RUNNER.invoke(app, ["demo", "--help"]).stdout.split())
    assert "[default: lookalike-demo]" in said
    assert "[default: 500; 1<=x<=100000]" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nonsense", "No such command 'nonsense'"),
        ("run", "Missing option '--config'"),
        ("run --config x --sett a", "No such option"),
        ("show --config x --items -1", "--items"),
        ("why item-1 --config x", "Missing argument 'OTHER'"),
        ("demo --items 0", "--items"),
        ("config --set similar.k=3", "give --config too"),
        ("releases diff one --config x", "takes 2 values"),
        ("demo --folder=", "--folder is empty; give a value, or leave it out"),
        ("releases show --config x ~", "an argument is empty"),
        ("export --config x --to y --release ~", "--release is empty"),
    ],
)
def test_wrong_usage_ends_with_2_and_names_what_is_wrong(words: str, said: str) -> None:
    done = RUNNER.invoke(app, [word.strip("~") for word in words.split()])
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("words", ["run", "show", "show item-1", "why item-1 item-2", "config", "releases list"])
def test_missing_file_of_settings_is_one_line(words: str) -> None:
    done = RUNNER.invoke(app, [*words.split(), "--config", "gone.yaml"])
    assert done.exit_code == 2
    assert without_time(done.stderr) == "ConfigError: gone.yaml: No such file or directory; give --config a YAML file\n"


@pytest.mark.parametrize("words", ["show", "show item-1", "why item-1 item-2", "releases list"])
def test_warehouse_without_a_release_is_one_line_and_not_made(words: str, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(f"catalogue: {{path: gone.parquet}}\nwarehouse: {{path: {tmp_path}/warehouse}}\n")
    done = RUNNER.invoke(app, [*words.split(), "--config", str(file)])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"WarehouseError: warehouse.path: {tmp_path}/warehouse holds no release yet")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [file]


def test_shells_complete_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_LOOKALIKE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "lookalike re")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert RUNNER.invoke(app, [], prog_name="lookalike").stdout.split() == ["releases"]


@pytest.mark.parametrize("job", ["embed", "show", "releases", "doctor"])
def test_job_of_spark_submit_takes_the_options_of_its_command(
    job: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ROOT / "jobs" / f"{job}.py"
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Usage: {job}.py [OPTIONS]")
    assert "--config FILE" in said


def test_job_ends_with_the_exit_code_of_its_command(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "jobs" / "embed.py"), "--config", str(tmp_path / "gone.yaml")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert without_time(done.stderr).startswith("ConfigError: ")


def test_help_and_completion_import_neither_spark_nor_pandas_nor_tensorflow() -> None:
    """They take seconds, and shells wait for completion at every TAB."""
    script = "import sys, lookalike.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "lookalike.cli.main" in loaded
    assert {"pyspark", "py4j", "pandas", "tensorflow"}.isdisjoint(loaded)
