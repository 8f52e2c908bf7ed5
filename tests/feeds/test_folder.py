"""`lookalike export --to FOLDER`: files of Parquet and JSON Lines, their vectors, and what was there before."""

from __future__ import annotations

import fcntl
import json
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
from lookalike.feeds import source
from lookalike.feeds.projection import Projection
from support import vector_releases
from support.vector_releases import vector

FIRST, SECOND = "20260101T020000Z-aaaaaa", "20260102T020000Z-bbbbbb"
HOSTILE = 'tab\t quote" back\\slash \n line \r nul\0 日本 \u2028 \x7f'
ITEMS = {f"item-{number:04}": number for number in range(250)} | {HOSTILE: 999}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The settings of a warehouse with one release."""
    kept = {
        "title": pa.array([HOSTILE if one == HOSTILE else f"title of {one}" for one in ITEMS]),
        "price": pa.array([Decimal("12.50"), None, *[Decimal("1.00")] * (len(ITEMS) - 2)]),
        "tags": pa.array([["a", None, HOSTILE], [], *[None] * (len(ITEMS) - 2)]),
        "sizes": pa.array(
            [[("S", [1]), (HOSTILE, None)], [], *[None] * (len(ITEMS) - 2)],
            pa.map_(pa.string(), pa.list_(pa.int32())),
        ),
        "seen": pa.array([316_516_204_800_000_001, *[None] * (len(ITEMS) - 1)], pa.timestamp("us", "UTC")),
        "weight": pa.array([float("nan"), 1e300, *[0.5] * (len(ITEMS) - 2)]),
    }
    lists = {one: [(other, 0.5) for other in list(ITEMS)[:2]] for one in ITEMS}
    vector_releases.put(tmp_path / "warehouse", FIRST, ITEMS, lists, kept, failed=["broken"])
    return vector_releases.settings_file(tmp_path)


def export(file: Path, to: Path | str, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["export", "--config", str(file), "--to", str(to), *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "export.json").read_text())
    return found


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_parquet_holds_what_the_release_does(shop: Path, tmp_path: Path, precision: str) -> None:
    code, said = export(shop, tmp_path / "out", "--precision", precision)
    assert code == 0, said
    found = pq.read_table(tmp_path / "out/embeddings.parquet")
    assert found["item_id"].to_pylist() == list(ITEMS)
    assert found["price"][0].as_py() == Decimal("12.50")
    vectors = np.stack(found["embedding"].to_numpy())
    assert vectors.dtype == precision
    assert np.abs(vectors - np.stack([vector(seed) for seed in ITEMS.values()])).max() <= (
        0 if precision == "float32" else 5e-4
    )
    assert pq.read_table(tmp_path / "out/similar_items.parquet").num_rows == 2 * len(ITEMS)
    assert pq.read_table(tmp_path / "out/failures.parquet")["item_id"].to_pylist() == ["broken"]
    assert record(tmp_path / "out")["tables"] == {"embeddings": 251, "similar_items": 502, "failures": 1}
    assert record(tmp_path / "out")["vectors"]["recall"] == pytest.approx(1.0, abs=0.01)
    assert duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/out/embeddings.parquet' WHERE len(embedding) = 16").fetchall()


def test_json_lines_hold_what_the_release_does(shop: Path, tmp_path: Path) -> None:
    assert export(shop, tmp_path / "out", "--format", "jsonl")[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "out/embeddings.jsonl").read_bytes().splitlines()]
    assert [row["item_id"] for row in rows] == list(ITEMS)
    assert rows[-1]["title"] == HOSTILE
    assert (rows[0]["price"], rows[1]["price"]) == ("12.50", None)
    assert (rows[0]["tags"], rows[1]["tags"], rows[2]["tags"]) == (["a", None, HOSTILE], [], None)
    assert (rows[0]["weight"], rows[1]["weight"]) == (None, 1e300)
    assert (rows[0]["sizes"], rows[1]["sizes"], rows[2]["sizes"]) == ({"S": [1], HOSTILE: None}, {}, None)
    assert (rows[0]["seen"], rows[1]["seen"]) == ("12000-01-01T00:00:00.000001Z", None)
    for row, seed in zip(rows, ITEMS.values(), strict=True):
        assert np.array_equal(np.array(row["embedding"], np.float32), vector(seed))
    lists = [json.loads(line) for line in (tmp_path / "out/similar_items.jsonl").read_bytes().splitlines()]
    assert {"item_id": HOSTILE, "rank": 2, "similar_item_id": "item-0001", "score": 0.5} in lists


def test_fewer_dimensions_come_with_their_projection_and_recall(shop: Path, tmp_path: Path) -> None:
    code, said = export(shop, tmp_path / "out", "--dimensions", "12")
    assert code == 0, said
    stored = record(tmp_path / "out")["vectors"]
    projection = Projection.load(tmp_path / "out/projection.npz")
    assert stored["projection"] == projection.hash
    found = np.stack(pq.read_table(tmp_path / "out/embeddings.parquet")["embedding"].to_numpy())
    full = np.stack([vector(seed) for seed in ITEMS.values()])
    assert np.allclose(found, projection.apply(full), atol=1e-6)
    assert stored["recall"] == pytest.approx(recall_by_hand(full, found), abs=0.002)
    assert f"recall@10 {stored['recall']:.4f}" in said
    again = tmp_path / "again"
    assert export(shop, again, "--dimensions", "12")[0] == 0
    assert (again / "projection.npz").read_bytes() == (tmp_path / "out/projection.npz").read_bytes()


def test_projection_of_an_earlier_export_is_kept(shop: Path, tmp_path: Path) -> None:
    assert export(shop, tmp_path / "out", "--dimensions", "5")[0] == 0
    kept = tmp_path / "kept.npz"
    kept.write_bytes((tmp_path / "out/projection.npz").read_bytes())
    vector_releases.put(tmp_path / "warehouse", SECOND, {"a": 1, "b": 2})
    code, said = export(shop, tmp_path / "out", "--projection", str(kept))
    assert code == 0, said
    assert (tmp_path / "out/projection.npz").read_bytes() == kept.read_bytes()
    found = np.stack(pq.read_table(tmp_path / "out/embeddings.parquet")["embedding"].to_numpy())
    assert np.allclose(found, Projection.load(kept).apply(np.stack([vector(1), vector(2)])))
    assert record(tmp_path / "out")["vectors"]["dimensions"] == 5


@pytest.mark.parametrize(
    "directions", [None, b"", b"text", np.ones((8, 2)), np.ones(16), np.full((16, 2), np.nan), np.array([{}])]
)
def test_projection_that_does_not_fit_is_named(
    shop: Path, tmp_path: Path, directions: np.ndarray | bytes | None
) -> None:
    if isinstance(directions, bytes):
        (tmp_path / "p.npz").write_bytes(directions)
    elif directions is not None:
        np.savez(tmp_path / "p.npz", directions=directions)
    code, said = export(shop, tmp_path / "out", "--projection", str(tmp_path / "p.npz"))
    assert (code, "ConfigError" in said) == (2, True), said


def recall_by_hand(full: np.ndarray, reduced: np.ndarray) -> float:
    """Of all items: how many of the ten nearest are the same."""
    shares = []
    for one in range(len(full)):
        true, found = (
            {int(other) for other in np.argsort(-(vectors @ vectors[one]), kind="stable") if other != one}
            and set([int(other) for other in np.argsort(-(vectors @ vectors[one])) if other != one][:10])
            for vectors in (full, reduced)
        )
        shares.append(len(true & found) / 10)
    return float(np.mean(shares))


def test_all_dimensions_lose_nothing(shop: Path, tmp_path: Path) -> None:
    assert export(shop, tmp_path / "out", "--dimensions", "16")[0] == 0
    assert record(tmp_path / "out")["vectors"]["recall"] == 1.0


def test_the_next_export_takes_the_place_of_the_last(shop: Path, tmp_path: Path) -> None:
    assert export(shop, tmp_path / "out", "--dimensions", "4")[0] == 0
    vector_releases.put(tmp_path / "warehouse", SECOND, {"a": 1}, {})
    assert export(shop, tmp_path / "out", "--format", "jsonl")[0] == 0
    assert record(tmp_path / "out")["release_id"] == SECOND
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"embeddings.jsonl", "similar_items.jsonl", "failures.jsonl", "export.json"}
    assert export(shop, tmp_path / "out", "--release", FIRST[:16])[0] == 0
    assert record(tmp_path / "out")["release_id"] == FIRST
    assert [path.name for path in tmp_path.glob(".out.*")] == []


@pytest.mark.parametrize("items", [{}, {"only": 5}], ids=["none", "one"])
def test_release_of_few_items(tmp_path: Path, items: dict[str, int]) -> None:
    vector_releases.put(tmp_path / "warehouse", FIRST, items)
    file = vector_releases.settings_file(tmp_path)
    for words in ([], ["--format", "jsonl"], ["--precision", "float16"]):
        code, said = export(file, tmp_path / "out", *words)
        assert code == 0, said
        assert record(tmp_path / "out")["tables"]["embeddings"] == len(items)


def test_failing_export_leaves_the_old_one(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert export(shop, tmp_path / "out")[0] == 0
    before = (tmp_path / "out/export.json").read_bytes()
    damaged = tmp_path / f"warehouse/releases/{FIRST}/similar_items/part-0.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    code, said = export(shop, tmp_path / "out")
    assert (code, "similar_items" in said) == (2, True)
    assert (tmp_path / "out/export.json").read_bytes() == before
    assert [path.name for path in tmp_path.glob(".out.*")] == []


def test_export_that_was_killed_between_its_two_renames_is_brought_back(shop: Path, tmp_path: Path) -> None:
    assert export(shop, tmp_path / "out")[0] == 0
    (tmp_path / "out").rename(tmp_path / ".out.part-dead")
    (tmp_path / ".out.part-half").mkdir()
    damaged = tmp_path / f"warehouse/releases/{FIRST}/similar_items/part-0.parquet"
    damaged.write_bytes(b"")
    assert export(shop, tmp_path / "out")[0] == 2
    assert record(tmp_path / "out")["release_id"] == FIRST
    assert [path.name for path in tmp_path.glob(".out.part-*")] == []


def test_second_export_at_the_same_time_is_refused(shop: Path, tmp_path: Path) -> None:
    with (tmp_path / ".out.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, said = export(shop, tmp_path / "out")
    assert (code, "another export" in said) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dimensions", "17"], "1 to 16"),
        (["--dimensions", "4", "--projection", "p.npz"], "--projection"),
        (["--index"], "--index"),
        (["--schema", "x"], "--schema"),
        (["--release", "2020"], "there is no release"),
        (["--release", ""], "--release is empty"),
    ],
)
def test_wrong_options_are_named(shop: Path, tmp_path: Path, words: list[str], said: str) -> None:
    code, text = export(shop, tmp_path / "out", *words)
    assert (code, said in text) == (2, True), text
    assert not (tmp_path / "out").exists()


_SECRET_PLACES = ["mysql://me:s3cret@host/x", "host=db password='a s3cret'"]


@pytest.mark.parametrize(
    "place", ["s3://bucket/x", *_SECRET_PLACES, "/proc", "{folder}/file", "{folder}/others", "{folder}/loop"]
)
def test_place_that_is_no_export_is_refused(
    shop: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "others").mkdir()
    (tmp_path / "others/mine").write_text("mine")
    code, said = export(shop, place.format(folder=tmp_path))
    assert (code, "ConfigError" in said, "s3cret" in said) == (2, True, False), said
    assert (tmp_path / "others/mine").read_text() == "mine"
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize("rows", [1, 4, 1024])
def test_nothing_is_lost_where_all_others_are_the_nearest(
    tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "BATCH_ROWS", rows)
    vector_releases.put(tmp_path / "warehouse", FIRST, {f"item-{number}": number for number in range(11)})
    assert export(vector_releases.settings_file(tmp_path), tmp_path / "out", "--dimensions", "2")[0] == 0
    assert record(tmp_path / "out")["vectors"]["recall"] == 1.0


def test_batches_are_small_whatever_the_files(shop: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(source, "BATCH_ROWS", 7)
    assert export(shop, tmp_path / "out", "--dimensions", "8")[0] == 0
    small = pq.read_table(tmp_path / "out/embeddings.parquet")
    monkeypatch.undo()
    assert export(shop, tmp_path / "out", "--dimensions", "8")[0] == 0
    assert pq.read_table(tmp_path / "out/embeddings.parquet")["item_id"].equals(small["item_id"])
