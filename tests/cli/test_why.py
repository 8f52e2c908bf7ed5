"""`lookalike why`: what it prints of a release, without Spark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lookalike.cli.main import app
from lookalike.config import SimilarSettings
from lookalike.serving.client import open_release
from lookalike.warehouse.pointer import Pointer
from support import constraint_items
from support.constraint_oracle import Item
from support.ruled_release import FAILED, write_ruled_release

HOSTILE = "\x1b[2J<b>"


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("why") / "warehouse"
    hostile = Item(HOSTILE, constraint_items.signs(77), constraint_items.item(0, 0).columns)
    rules = SimilarSettings(k=2, group_by="kind", group_fallback=("dept",))
    write_ruled_release(path / "releases/r1", [*constraint_items.fewer_than_k(), hostile], rules)
    (path / "CURRENT").write_bytes(Pointer(release_id="r1").as_json())
    return path


def why(warehouse: Path, *words: str) -> tuple[int, str, str]:
    """Return the exit code, stdout and stderr."""
    file = warehouse.parent / "shop.yaml"
    file.write_text(f"catalogue: {{path: gone.parquet}}\nwarehouse: {{path: {warehouse}}}\n")
    done = CliRunner().invoke(app, ["why", "--config", str(file), *words])
    return done.exit_code, done.stdout, done.stderr


def test_why_prints_a_sentence_and_the_figures(warehouse: Path) -> None:
    code, said, _ = why(warehouse, "020", "010")
    expected = open_release(warehouse).why("020", "010")
    assert code == 0
    assert [line.strip() for line in said.splitlines() if line] == expected.lines()
    assert said.startswith("'010' is not in the list of '020': it is 3rd by the rules, and the list ends at 2\n")


def test_why_prints_one_object(warehouse: Path) -> None:
    code, said, _ = why(warehouse, "020", "021", "--json")
    assert code == 0
    assert json.loads(said) == json.loads(json.dumps(open_release(warehouse).why("020", "021").as_json()))
    assert json.loads(said)["listed"] is True


def test_unknown_item_ends_with_2_and_one_line(warehouse: Path) -> None:
    assert why(warehouse, "020", "x") == (2, "", "UnknownItemError: item 'x' is not in release r1\n")
    assert why(warehouse, "020", FAILED)[0] == 0


def test_hostile_ids_move_no_terminal(warehouse: Path) -> None:
    for words in ((HOSTILE, "020"), (HOSTILE, "gone\x1b"), ("020", HOSTILE, "--json")):
        _, said, line = why(warehouse, *words)
        assert "\x1b" not in said + line
        assert "x1b" in said + line or "u001b" in said
