"""`lookalike demo`: what it draws and where; tests/e2e/test_wheel.py runs all of it."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from lookalike import config_file
from lookalike.cli import demo
from lookalike.cli.main import app

RUNNER = CliRunner()


def draw(*words: str) -> Result:
    return RUNNER.invoke(app, ["demo", "--only-draw", *words])


def test_pictures_catalogue_and_settings_are_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = draw("--items", "5", "--json")
    assert done.exit_code == 0
    folder = tmp_path / "lookalike-demo"
    assert json.loads(done.stdout) == {
        "folder": str(folder),
        "catalogue": str(folder / "catalogue.parquet"),
        "settings": str(folder / "demo.yaml"),
    }
    assert len(list((folder / "images").iterdir())) == 5
    assert pq.read_table(folder / "catalogue.parquet").num_rows == 5


def test_settings_name_the_folder_from_wherever_they_are_used(tmp_path: Path) -> None:
    folder = tmp_path / 'a folder: "1" #x'
    assert draw("--folder", str(folder), "--items", "1").exit_code == 0
    settings = config_file.load(folder / "demo.yaml")
    assert settings.catalogue.path == str(folder / "catalogue.parquet")
    assert settings.catalogue.image_root == str(folder)
    assert settings.warehouse.path == str(folder / "warehouse")
    assert settings.similar.group_by == "kind"


def times(folder: Path) -> set[int]:
    return {path.stat().st_mtime_ns for path in (folder / "images").iterdir()}


def test_same_catalogue_is_drawn_once_and_another_one_in_its_place(tmp_path: Path) -> None:
    words = ("--folder", str(tmp_path), "--items", "3")
    assert draw(*words).stderr.lstrip().startswith("draw: 3 pictures")
    first = times(tmp_path)
    assert draw(*words).stderr == ""
    assert times(tmp_path) == first
    assert draw(*words, "--seed", "8").stderr.lstrip().startswith("draw: 3 pictures")
    assert times(tmp_path).isdisjoint(first)


@pytest.mark.parametrize("content", ["another", "no Parquet"])
def test_catalogue_of_another_kind_is_never_overwritten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "catalogue.parquet"
    if content == "another":
        pq.write_table(pa.table({"item_id": ["a"], "image_path": ["a.jpg"]}), path)
    else:
        path.write_bytes(b"no Parquet")
    before = path.read_bytes()
    done = draw("--folder", str(tmp_path))
    assert done.exit_code == 2
    assert "holds a catalogue of another kind; give another folder" in done.stderr
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_folder_that_cannot_be_written_is_one_line() -> None:
    done = draw("--folder", "/dev/null/demo", "--items", "1")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1] == (
        "ConfigError: --folder /dev/null/demo: cannot be written (Not a directory); give another folder"
    )


@pytest.mark.parametrize("found", [True, False])
def test_next_commands_are_those_that_the_shell_finds(
    tmp_path: Path, found: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a checkout the command is .venv/bin/lookalike."""
    command = tmp_path / "bin/lookalike"
    command.parent.mkdir()
    command.touch(0o755)
    monkeypatch.setenv("PATH", str(command.parent) if found else "")
    monkeypatch.setattr("sys.argv", [str(command), "demo"])
    page = mock.Mock(report=None, places={"similar_items": tmp_path / "current/similar_items"})
    page.samples = [mock.Mock(**{"item.item_id": "item-0001"})]
    demo._print_next(demo.Files(tmp_path), page, ["similar.k=5"])
    said = capsys.readouterr().out
    program = "lookalike" if found else str(command)
    for words in ("show item-0001", "browse"):
        assert f"  {program} {words} --config {tmp_path}/demo.yaml --set similar.k=5\n" in said
