"""A warehouse to look at, with two releases that no run has made: hostile ids and labels, failures, changed lists."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lookalike import config
from lookalike.warehouse.pointer import Pointer
from lookalike.warehouse.release import ReleaseFolder
from support import records

FIRST, SECOND = "20260101T020000Z-aaaaaa", "20260102T020000Z-bbbbbb"

HOSTILE = "<script>alert(1)</script>"
# What an id may hold: markup, ways out of a folder, an end, signs of addresses, a line end, no end, nothing.
IDS = (
    HOSTILE,
    "../../etc/passwd",
    "a\0b",
    "a?b#c%2f&d=e+f",
    "\u202egpj.exe",
    "x" * 10_000,
    "",
    "a\nb",
    "👗 Größe",
    "red-1",
)
LABELS = (
    "\"'><img src=x onerror=alert(1)>",
    "</style><h1>",
    "shoes",
    "shoes",
    "bags",
    "y" * 500,
    "",
    "shoes",
    "bags",
    "shoes",
)
FAILED = ("<b>gone</b>", "../bad")


def write(folder: Path) -> config.Settings:
    """Write the warehouse, and return its settings: the first item has the picture `secret`, which no release names."""
    settings = _settings(folder)
    for number in range(len(IDS)):
        Image.new("RGB", (60, 40 + 10 * number), (20 * number, 90, 160)).save(folder / f"{number}.png")
    Image.new("RGB", (8, 8)).save(folder / "unnamed.png")
    for release_id, turn, parent in ((FIRST, 1, None), (SECOND, 2, FIRST)):
        write_release(folder / "warehouse/releases" / release_id, settings, turn, parent)
    point_to(folder / "warehouse", SECOND)
    return settings


def point_to(warehouse: Path, release_id: str) -> None:
    """Make a release the current one."""
    (warehouse / "CURRENT").write_bytes(Pointer(release_id=release_id).as_json())


def write_release(root: Path, settings: config.Settings, turn: int, parent: str | None) -> None:
    """Each item has two neighbours, those `turn` and `turn + 1` places after it; the last has one."""
    release, count = ReleaseFolder(root), len(IDS)
    pairs = [(item, rank, (item + turn + rank - 1) % count) for item in range(count) for rank in (1, 2)][:-1]
    similar = {
        "item_id": [IDS[item] for item, _, _ in pairs],
        "rank": pa.array([rank for _, rank, _ in pairs], pa.int32()),
        "similar_item_id": [IDS[other] for _, _, other in pairs],
        "score": pa.array([0.9 - item / 100 - rank / 10 for item, rank, _ in pairs], pa.float32()),
    }
    paths = [f"{number}.png" for number in range(count - 1)] + ["gone.png"]
    hashes = [f"{number}" for number in range(count)]
    tables = {
        release.similar_items: similar,
        release.embeddings: {"item_id": IDS, "image_path": paths, "image_hash": hashes, "kind": LABELS},
        release.failures: {
            "item_id": FAILED,
            "image_path": ["../x.jpg", HOSTILE],
            "reason": ["not_found", "corrupt"],
            "detail": [HOSTILE, "it ends early"],
        },
    }
    for path, columns in tables.items():
        path.mkdir(parents=True)
        pq.write_table(pa.table(dict(columns)), path / "part-0.parquet", write_page_checksum=True)
    release.report.write_text("<!doctype html><title>the page</title>")
    counts = {**records.COUNTS, "items": count + 2, "embedded": count, "failed": 2, "similar_items": len(pairs)}
    counts["failed_by_reason"] = {"not_found": 1, "corrupt": 1}
    counts["labels"] = [{"column": "kind", "k": 2, "precision": 0.5, "chance": 0.2, "items": count}]
    stored = settings.model_dump(mode="json")
    records.write_record(release, parent, counts=counts, config=stored, seconds={"read": 1.0, "embed": 2.0 * turn})


def _settings(folder: Path) -> config.Settings:
    return config.Settings.model_validate(
        {
            "catalogue": {"path": str(folder / "c.parquet"), "image_root": str(folder), "keep_columns": ["kind"]},
            "warehouse": {"path": str(folder / "warehouse")},
            "similar": {"k": 2, "group_by": "kind"},
            "report": {"title": "A & B's <shop>"},
        }
    )
