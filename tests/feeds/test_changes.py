"""`lookalike changes`: applied to a copy of an earlier or later release, they make it the current one."""

from __future__ import annotations

import csv
import io
import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from lookalike.cli.main import app
from lookalike.errors import DiskError, WarehouseError
from lookalike.feeds.changes import Changes
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from support import records, vector_releases

HOSTILE = 'tab\t quote" back\\slash \n line \r nul\0 日本 \u2028, {};'
Copy = tuple[dict[str, Any], dict[str, Any]]


def changes(file: Path, *words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["changes", "--config", str(file), *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def copy_of(release: ReleaseFolder) -> Copy:
    """What another store holds of a release: items with label and vector, and lists in order."""
    items = {
        row["item_id"]: ({"image_path": row["image_path"], "label": row["label"]}, row["embedding"])
        for row in pq.read_table(release.embeddings).to_pylist()
    }
    lists: dict[str, list[dict[str, Any]]] = {}
    for row in (
        pq.read_table(release.similar_items).sort_by([("item_id", "ascending"), ("rank", "ascending")]).to_pylist()
    ):
        lists.setdefault(row["item_id"], []).append({name: row[name] for name in ("similar_item_id", "score")})
    return items, lists


def applied(held: Copy, rows: list[dict[str, Any]]) -> Copy:
    items, lists = dict(held[0]), dict(held[1])
    for row in rows:
        table = {"item": items, "list": lists}[row["kind"]]
        if row["change"] == "delete":
            del table[row["item_id"]]
        else:
            table[row["item_id"]] = (row["item"], row["embedding"]) if row["kind"] == "item" else row["neighbours"]
    return items, lists


def same(one: Copy, other: Copy) -> bool:
    """Compare numbers as float32, of which JSON has the shortest text."""
    as_text = [json.dumps([held], default=str, sort_keys=True) for held in (rounded(one), rounded(other))]
    return as_text[0] == as_text[1]


def rounded(held: Any) -> Any:
    if isinstance(held, float):
        return str(np.float32(held))
    if isinstance(held, dict):
        return {key: rounded(value) for key, value in held.items()}
    return [rounded(one) for one in held] if isinstance(held, list | tuple) else held


class Nights:
    """Random nights of one shop: items come, leave, come back, get another picture, label or list."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.pool = [HOSTILE, *(f"item-{number}" for number in range(30))]
        self.items: dict[str, int] = {}
        self.labels: dict[str, str | None] = {}
        self.lists: dict[str, list[tuple[str, float]]] = {}
        self.file = vector_releases.settings_file(folder)
        self.releases: list[ReleaseFolder] = []

    def night(self) -> ReleaseFolder:
        there = {one for one in self.pool if self.random.random() < (0.95 if one in self.items else 0.4)}
        for one in self.pool:
            if one not in there or one not in self.items or self.random.random() < 0.1:
                self.items.pop(one, None)
            if one in there:
                self.items.setdefault(one, self.random.randrange(40))
                if one not in self.labels or self.random.random() < 0.1:
                    self.labels[one] = self.random.choice([None, HOSTILE, "red", ""])
        for one in self.pool:
            others = self.random.sample(self.pool, self.random.randrange(4))
            if one not in self.lists or self.random.random() < 0.2:
                self.lists[one] = [(other, self.random.choice([0.25, 0.1])) for other in others]
        ids = sorted(self.items)
        kept = {"label": pa.array([self.labels[one] for one in ids], pa.string())}
        lists = {one: self.lists[one] for one in ids}
        name = f"202601{len(self.releases) + 1:02}T020000Z-aaaaaa"
        release = vector_releases.put(
            self.folder / "warehouse", name, {one: self.items[one] for one in ids}, lists, kept
        )
        self.releases.append(release)
        return release


@pytest.mark.parametrize("seed", range(3))
def test_changes_make_a_copy_the_current_release(tmp_path: Path, seed: int) -> None:
    nights = Nights(tmp_path, seed)
    for _ in range(5):
        nights.night()
    # A rollback, after which most of the releases are newer than the current one.
    for current in (nights.releases[-1], nights.releases[1]):
        Warehouse(str(tmp_path / "warehouse")).roll_back(current)
        for before in nights.releases:
            code, said, counts = changes(nights.file, "--since", before.release_id)
            assert code == 0, counts
            rows = [json.loads(line) for line in said.split("\n")[:-1]]
            assert same(applied(copy_of(before), rows), copy_of(current))
            assert len({(row["kind"], row["item_id"]) for row in rows}) == len(rows)
            upserts = sum((row["kind"], row["change"]) == ("item", "upsert") for row in rows)
            assert f"{upserts:,} item upserts" in counts


def test_only_what_changed_is_named(tmp_path: Path) -> None:
    labels = {"label": pa.array(["x"] * 4)}
    lists = {"a": [("b", 0.5)], "b": [("a", 0.5)], "c": [("a", 0.5), ("b", 0.25)], "d": [("a", 0.5)]}
    vector_releases.put(tmp_path / "warehouse", "r1", {"a": 1, "b": 2, "c": 3, "d": 4}, lists, labels)
    lists = {"a": [("b", 0.5)], "b": [("a", 0.75)], "c": [("b", 0.5), ("a", 0.25)]}
    labels = {"label": pa.array(["x", "x", "y", "x"])}
    vector_releases.put(tmp_path / "warehouse", "r2", {"a": 1, "b": 2, "c": 3, "e": 4}, lists, labels)
    _, said, counts = changes(vector_releases.settings_file(tmp_path), "--since", "r1", "--no-vectors")
    rows = [json.loads(line) for line in said.splitlines()]
    found = {(row["kind"], row["change"], row["item_id"]) for row in rows}
    assert found == {
        ("item", "delete", "d"),
        ("item", "upsert", "c"),
        ("item", "upsert", "e"),
        ("list", "delete", "d"),
        ("list", "upsert", "b"),
        ("list", "upsert", "c"),
    }
    assert {"kind": "item", "change": "delete", "item_id": "d"} in rows
    assert not any("embedding" in row for row in rows)
    assert "1 item deletes, 2 item upserts, 1 list deletes, 2 list upserts" in counts


def test_parquet_and_csv_hold_the_same(tmp_path: Path) -> None:
    nights = Nights(tmp_path, 7)
    before, current = nights.night(), nights.night()
    for kind in ("parquet", "csv"):
        words = ["--since", before.release_id, "--format", kind, "--out", str(tmp_path / f"changes.{kind}"), "--json"]
        code, said, _ = changes(nights.file, *words)
        assert code == 0
        assert json.loads(said)["release_id"] == current.release_id
    rows = pq.read_table(tmp_path / "changes.parquet").to_pylist()
    assert same(applied(copy_of(before), rows), copy_of(current))
    with (tmp_path / "changes.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(line.replace("\0", "\u2400") for line in file))
    nested = ("item", "embedding", "neighbours")
    found = [{**line, **{name: line[name] and json.loads(line[name]) for name in nested}} for line in lines]
    for row, line in zip(rows, found, strict=True):
        assert line["item_id"] == row["item_id"].replace("\0", "\u2400")
        assert rounded(line["neighbours"] or None) == rounded(row["neighbours"])
    assert not list(tmp_path.glob(".changes*"))


def test_same_two_releases_give_the_same_bytes(tmp_path: Path) -> None:
    ids = [f"item-{number}" for number in range(6000)]
    random.Random(1).shuffle(ids)
    for name, pictures in (("r1", 0), ("r2", 1)):
        items = dict.fromkeys(ids[pictures * 500 : 5500 + pictures * 500], pictures)
        vector_releases.put(tmp_path / "warehouse", name, items, {one: [(ids[0], pictures)] for one in items})
    words = ("--since", "r1", "--no-vectors")
    said = [changes(vector_releases.settings_file(tmp_path), *words)[1] for _ in range(4)]
    assert len(set(said)) == 1
    keys = [(row["kind"], row["change"], row["item_id"]) for row in map(json.loads, said[0].splitlines())]
    assert keys == sorted(keys)
    assert len(keys) == 2 * 6000


def test_lines_hold_kept_columns_of_all_types(tmp_path: Path) -> None:
    """Also times that Python lacks, and numbers that JSON lacks."""
    kept = {
        "seen": pa.array([316_516_204_800_000_001], pa.timestamp("us", "UTC")),
        "ratio": pa.array([float("inf")]),
        "raw": pa.array([b"\0\xff"]),
        "price": pa.array([Decimal("-0.50")]),
        "sizes": pa.array([[("S", float("nan")), (HOSTILE, 1.0)]], pa.map_(pa.string(), pa.float64())),
        "maker": pa.array([{'the "name"': [HOSTILE, None]}]),
    }
    vector_releases.put(tmp_path / "warehouse", "r1", {}, {}, {name: one[:0] for name, one in kept.items()})
    vector_releases.put(tmp_path / "warehouse", "r2", {"a": 1}, {}, kept)
    found = []
    for kind in ("jsonl", "csv"):
        code, said, told = changes(vector_releases.settings_file(tmp_path), "--since", "r1", "--format", kind)
        assert code == 0, told
        found.append(said)
    row = json.loads(found[0])
    assert row["item"] == {
        "image_path": "a.jpg",
        "seen": "12000-01-01T00:00:00.000001Z",
        "ratio": None,
        "raw": "00ff",
        "price": "-0.50",
        "sizes": {"S": None, HOSTILE: 1},
        "maker": {'the "name"': [HOSTILE, None]},
    }
    assert np.array_equal(np.array(row["embedding"], np.float32), vector_releases.vector(1))
    (line,) = csv.DictReader(io.StringIO(found[1]))
    assert json.loads(line["item"]) == row["item"]
    assert json.loads(line["embedding"]) == row["embedding"]


def test_another_column_changes_all_items(tmp_path: Path) -> None:
    vector_releases.put(tmp_path / "warehouse", "r1", {"a": 1, "b": 2})
    vector_releases.put(tmp_path / "warehouse", "r2", {"a": 1, "b": 2}, {}, {"label": pa.array([None, "x"])})
    _, said, told = changes(vector_releases.settings_file(tmp_path), "--since", "r1")
    assert [json.loads(line)["item"]["label"] for line in said.splitlines()] == [None, "x"]
    assert "other columns" in told


def test_other_model_is_named(tmp_path: Path) -> None:
    for name in ("r1", "r2"):
        release = vector_releases.put(tmp_path / "warehouse", name, {"a": 1})
    assert "model" not in changes(vector_releases.settings_file(tmp_path), "--since", "r1")[2]
    records.write_record(release, model={"model_id": "other"})
    assert "two models" in changes(vector_releases.settings_file(tmp_path), "--since", "r1")[2]


@pytest.mark.parametrize(("first", "second"), [({}, {"a": 1}), ({"a": 1}, {}), ({}, {})])
def test_empty_releases(tmp_path: Path, first: dict[str, int], second: dict[str, int]) -> None:
    vector_releases.put(tmp_path / "warehouse", "r1", first)
    vector_releases.put(tmp_path / "warehouse", "r2", second)
    code, said, _ = changes(vector_releases.settings_file(tmp_path), "--since", "r1")
    assert code == 0
    expected = {"upsert": set(second) - set(first), "delete": set(first) - set(second)}
    found = [json.loads(line) for line in said.splitlines()]
    assert {(row["change"], row["item_id"]) for row in found} == {
        (how, one) for how, ids in expected.items() for one in ids
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--since", "2020"], "lookalike export"),
        (["--since", ""], "--since is empty"),
        (["--since", "r"], "several releases"),
        (["--since", "r1", "--format", "parquet"], "--out"),
        (["--since", "r1", "--json"], "--out"),
        (["--since", "r1", "--out", "."], "it is no file"),
        (["--since", "r1", "--out", "/dev/null"], "it is no file"),
        (["--since", "r1", "--out", "/nowhere/x"], "--out /nowhere/x: cannot be written (No such file or directory)"),
    ],
)
def test_wrong_words_are_named(tmp_path: Path, words: list[str], said: str) -> None:
    for name in ("r1", "r2"):
        vector_releases.put(tmp_path / "warehouse", name, {"a": 1})
    code, _, told = changes(vector_releases.settings_file(tmp_path), *words)
    assert (code, said in told) == (2, True), told


def test_link_to_nothing_becomes_a_file(tmp_path: Path) -> None:
    for name in ("r1", "r2"):
        vector_releases.put(tmp_path / "warehouse", name, {"a": 1})
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "link").symlink_to("target")
    for name, file in (("itself", "itself"), ("link", "target")):
        code, *_ = changes(vector_releases.settings_file(tmp_path), "--since", "r1", "--out", str(tmp_path / name))
        assert (code, (tmp_path / file).is_file()) == (0, True)
    assert (tmp_path / "link").is_symlink()


def test_release_that_was_removed_says_to_export_all(tmp_path: Path) -> None:
    vector_releases.put(tmp_path / "warehouse", "r1", {"a": 1}).record_path.unlink()
    vector_releases.put(tmp_path / "warehouse", "r2", {"a": 1})
    code, _, told = changes(vector_releases.settings_file(tmp_path), "--since", "r1")
    assert (code, "lookalike export" in told) == (2, True)


@pytest.mark.parametrize(
    ("fault", "named"), [(duckdb.IOException, DiskError), (duckdb.InvalidInputException, WarehouseError)]
)
def test_database_shows_no_progress_and_its_errors_are_named(
    tmp_path: Path, fault: type[Exception], named: type[Exception]
) -> None:
    release = vector_releases.put(tmp_path / "warehouse", "r1", {"a": 1})
    shown: list[Any] = []

    def fail() -> None:
        with Changes(release, release, True)._database() as database:
            shown.extend(database.execute("SELECT current_setting('enable_progress_bar')").fetchall())
            raise fault("no space")

    with pytest.raises(named, match="cannot be compared"):
        fail()
    assert shown == [(False,)]


def test_damaged_table_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    release = vector_releases.put(tmp_path / "warehouse", "r1", {"a": 1})
    vector_releases.put(tmp_path / "warehouse", "r2", {"a": 2})
    (tmp_path / "out").write_text("before")
    path = release.embeddings / "part-0.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    code, _, told = changes(vector_releases.settings_file(tmp_path), "--since", "r1", "--out", str(tmp_path / "out"))
    assert (code, "embeddings" in told) == (2, True), told
    assert (tmp_path / "out").read_text() == "before"
