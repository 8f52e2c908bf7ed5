"""The comparison of the catalogue to the current release, on tables of a few rows."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StructField, StructType

from lookalike import config
from lookalike.catalogue import fingerprints
from lookalike.catalogue.delta import Delta, compare_to_release, earlier_releases, reusable
from lookalike.catalogue.fingerprints import HASH_COLUMNS
from lookalike.images.picture import TRUNCATED
from lookalike.spark import release_tables, schemas
from lookalike.warehouse.release import ReleaseFolder
from support import records, release_files, staging

MODEL = "model-a"
FIRST, LAST = datetime(2026, 11, 1, 2, 15), datetime(2026, 11, 20, 2, 15)  # noqa: DTZ001 - as Spark gives them

PRICE = StructField("price", LongType())
LISTED = StructType([*schemas.ITEMS.fields, *HASH_COLUMNS.fields, PRICE])


def listed(item: str = "a", **columns: Any) -> dict[str, Any]:
    """Return an item of the catalogue: path and fingerprint as in the release, picture not read."""
    return {"item_id": item, "image_path": f"{item}.jpg", "fingerprint": f"{item}-1", "price": 5, **columns}


def embedded(item: str = "a", **columns: Any) -> dict[str, Any]:
    """Return a row of the release's embeddings."""
    row = {"image_hash": f"{item}-hash", "model_id": MODEL, "embedding": [1.0], "norm": 1.0, "fixes": []}
    return {**listed(item), **row, "width": 10, "height": 10, "embedded_at": FIRST, **columns}


def failed(item: str = "a", **columns: Any) -> dict[str, Any]:
    """Return a row of the release's failures: a lasting one, on its third night."""
    row = {"image_hash": f"{item}-hash", "reason": "corrupt", "detail": "bad", "permanent": True, "attempts": 3}
    return {**listed(item), **row, "first_failed_at": FIRST, "last_failed_at": LAST, **columns}


@dataclass
class Night:
    """A comparison of a catalogue to a release, both given as rows."""

    spark: SparkSession
    work: Path
    made_with: config.Settings
    settings: config.Settings
    was_failed: list[dict[str, Any]] = field(default_factory=list)

    def before(self, was_embedded: list[dict[str, Any]]) -> release_tables.ReleaseTables:
        release = ReleaseFolder(self.work / "release")
        records.write_record(release, model={"model_id": MODEL}, config=self.made_with.model_dump(mode="json"))
        return release_tables.ReleaseTables(
            release,
            self._table(was_embedded, StructType([*schemas.EMBEDDINGS.fields, PRICE])),
            self._table(self.was_failed, schemas.FAILURES),
            self._table([], schemas.SIMILAR_ITEMS),
        )

    def compare(
        self, now: list[dict[str, Any]], was: list[dict[str, Any]] | None, model_id: str = MODEL
    ) -> tuple[Delta, dict[str, Row]]:
        """Return the delta, and its rows by item."""
        before = None if was is None else self.before(was)
        staged = staging.stage(self.work, secrets.token_hex(4))
        delta = compare_to_release(self._table(now, LISTED), before, model_id, self.settings, staged)
        rows = delta.table.collect()
        assert len({row["item_id"] for row in rows}) == len(rows)
        return delta, {row["item_id"]: row for row in rows}

    def one(self, now: dict[str, Any], was: dict[str, Any], model_id: str = MODEL) -> Row:
        """Return the row of one item that was embedded."""
        return self.compare([now], [was], model_id)[1][now["item_id"]]

    def stays(self, now: dict[str, Any], was: dict[str, Any]) -> bool:
        """Return whether the embedding of one item stays as it is."""
        delta, rows = self.compare([now], [was])
        assert delta.kept == 1 - len(rows)
        return not rows

    def failure(self, now: dict[str, Any], was: dict[str, Any]) -> Row:
        """Return the row of one item that failed."""
        self.was_failed = [was]
        return self.compare([now], [])[1][now["item_id"]]

    def _table(self, rows: list[dict[str, Any]], schema: StructType) -> Any:
        return self.spark.createDataFrame([tuple(row.get(name) for name in schema.names) for row in rows], schema)


Nights = Callable[..., Night]


@pytest.fixture
def night(spark: SparkSession, tmp_path: Path) -> Nights:
    """Return a builder of a Night; `made_with` changes the settings of the release, other sections those of the run."""

    def build(mode: str = "stat", made_with: dict[str, Any] | None = None, **sections: Any) -> Night:
        both: dict[str, Any] = {
            "catalogue": {"path": "catalogue.parquet", "change_detection": mode, "keep_columns": ["price"]},
            "warehouse": {"path": "warehouse"},
        }
        if mode == "column":
            both["catalogue"]["fingerprint_column"] = "etag"
        return Night(spark, tmp_path, _settings(both, made_with or {}), _settings(both, sections))

    return build


def _settings(both: dict[str, Any], sections: dict[str, Any]) -> config.Settings:
    merged = {name: {**both.get(name, {}), **sections.get(name, {})} for name in {*both, *sections}}
    return config.Settings.model_validate(merged)


MODES = pytest.mark.parametrize("mode", ["stat", "column", "content"])

# item -> its columns in the catalogue, its columns in the release, and the expected status and image_hash of its row
EMBEDDED_BEFORE: dict[str, tuple[dict[str, Any], dict[str, Any] | None, tuple[str, str | None] | None]] = {
    "the same": ({}, {}, None),
    "not in the release": ({}, None, ("new", None)),
    "another fingerprint": ({"fingerprint": "2"}, {"fingerprint": "1"}, ("changed", None)),
    "no fingerprint now": ({"fingerprint": None}, {"fingerprint": "1"}, ("changed", None)),
    "no fingerprint then": ({"fingerprint": "1"}, {"fingerprint": None}, ("changed", None)),
    "never a fingerprint": ({"fingerprint": None}, {"fingerprint": None}, ("changed", None)),
    "price": ({"price": 6}, {}, ("unchanged", "price-hash")),
    "price now null": ({"price": None}, {}, ("unchanged", "price now null-hash")),
    "price then null": ({}, {"price": None}, ("unchanged", "price then null-hash")),
    "price still null": ({"price": None}, {"price": None}, None),
    # Its vector cannot be reused. The hash is computed again too, since it may be older than the file.
    "other model": ({}, {"model_id": "model-b"}, ("unchanged", None)),
    "as large as allowed": ({}, {"width": 100, "height": 100}, None),
    "too large": ({}, {"width": 101, "height": 100}, ("unchanged", None)),
    "beyond 32 bits": ({}, {"width": 1 << 16, "height": 1 << 16}, ("unchanged", None)),
}

# The same for an item that failed, with the expected keep, attempts and first_failed_at
FAILED_BEFORE: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[bool, int, datetime | None]]] = {
    "lasting": ({}, {}, (True, 3, FIRST)),
    "lasting, changed": ({"fingerprint": "2"}, {}, (False, 3, FIRST)),
    "lasting, no fingerprint": ({"fingerprint": None}, {"fingerprint": None}, (False, 3, FIRST)),
    "lasting, moved": ({"image_path": "b.jpg"}, {}, (False, 0, None)),
    "passing": ({}, {"permanent": False}, (False, 3, FIRST)),
    "passing, changed": ({"fingerprint": "2"}, {"permanent": False}, (False, 3, FIRST)),
    "passing, moved": ({"image_path": "b.jpg"}, {"permanent": False}, (False, 0, None)),
}

LIMITS = {"images": {"max_bytes": 1000, "max_pixels": 10_000}}


@MODES
def test_each_item_gets_its_status(night: Nights, mode: str) -> None:
    tonight = night(mode, made_with=LIMITS, **LIMITS)
    tonight.was_failed = [failed(item, **was) for item, (_, was, _) in FAILED_BEFORE.items()]
    delta, rows = tonight.compare(
        [listed(item, **now) for item, (now, _, _) in {**EMBEDDED_BEFORE, **FAILED_BEFORE}.items()],
        [embedded(item, **was) for item, (_, was, _) in EMBEDDED_BEFORE.items() if was is not None]
        + [embedded("gone")],
    )
    for item, (_, _, expected) in EMBEDDED_BEFORE.items():
        if expected is None:
            assert item not in rows
        else:
            assert (rows[item]["status"], rows[item]["image_hash"], rows[item]["keep"]) == (*expected, False), item
    for item, (_, _, expected) in FAILED_BEFORE.items():
        row = rows[item]
        assert (row["keep"], row["attempts"], row["first_failed_at"]) == expected, item
        assert (row["status"], row["was_embedded"], row["image_hash"]) == ("failed", False, None), item
    assert (rows["gone"]["status"], rows["gone"]["keep"]) == ("removed", False)
    assert delta.counts == {"new": 1, "changed": 4, "unchanged": 9, "removed": 1, "failed": 7}
    assert (delta.to_read, delta.kept, delta.dropped, delta.rewritten) == (14, 3, 11, 17)
    assert delta.kept_failures == 1
    assert all(path.is_file() for path in delta.paths)
    assert delta.line() == "1 new, 4 changed, 9 unchanged, 1 removed, 7 failed before"
    assert not delta.is_empty


@MODES
def test_every_item_of_a_first_run_is_new(night: Nights, mode: str) -> None:
    delta, rows = night(mode).compare([listed("a"), listed("b", image_hash="b-hash")], None)
    assert delta.counts == {"new": 2, "changed": 0, "unchanged": 0, "removed": 0, "failed": 0}
    assert (delta.to_read, delta.kept, delta.dropped, delta.rewritten) == (1, 0, 0, 2)
    assert not delta.is_empty
    assert not rows["a"]["keep"]
    assert (rows["a"]["attempts"], rows["a"]["first_failed_at"]) == (0, None)


def test_versions_of_pictures_are_asked_for_where_the_items_have_no_fingerprint(
    night: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "version_of_picture", lambda _: F.concat(F.lit("version of "), "image_path"))
    tonight = night()
    was = [embedded(item, fingerprint=f"version of {item}.jpg") for item in ("same", "gone")]
    items = tonight._table([listed(item) for item in ("same", "other", "new")], LISTED).drop("fingerprint")
    before = tonight.before([*was, embedded("other", fingerprint="an older version")])
    delta = compare_to_release(items, before, MODEL, tonight.settings, staging.stage(tonight.work))
    found = {row["item_id"]: (row["status"], row["fingerprint"]) for row in delta.table.collect()}
    assert found == {
        "other": ("changed", "version of other.jpg"),
        "new": ("new", "version of new.jpg"),
        "gone": ("removed", None),
    }


def test_delta_without_changes_is_empty(night: Nights) -> None:
    tonight = night()
    tonight.was_failed = [failed("b")]
    delta, rows = tonight.compare([listed("a"), listed("b")], [embedded("a")])
    assert delta.is_empty
    assert (delta.to_read, delta.kept, delta.dropped, delta.rewritten) == (0, 1, 0, 0)
    assert [(item, row["keep"]) for item, row in rows.items()] == [("b", True)]


@pytest.mark.parametrize(
    ("now", "embedded_before", "failed_before"), [("ab", "a", ""), ("a", "ab", ""), ("a", "a", "b"), ("b", "b", "a")]
)
def test_delta_with_an_item_that_came_or_went_is_not_empty(
    night: Nights, now: str, embedded_before: str, failed_before: str
) -> None:
    """Also an item that failed: its row of failures has to go."""
    tonight = night()
    tonight.was_failed = [failed(item) for item in failed_before]
    delta, _ = tonight.compare([listed(item) for item in now], [embedded(item) for item in embedded_before])
    assert not delta.is_empty


@pytest.mark.parametrize("mode", ["stat", "column"])
def test_fingerprint_counts_for_one_path_only(night: Nights, mode: str) -> None:
    row = night(mode).one(listed(image_path="b.jpg"), embedded())
    assert (row["status"], row["keep"], row["image_hash"]) == ("changed", False, None)


def test_same_content_under_another_path_is_the_same_picture_in_a_new_row(night: Nights) -> None:
    row = night("content").one(listed(image_path="b.jpg", image_hash="a-hash"), embedded())
    assert (row["status"], row["keep"], row["image_hash"]) == ("unchanged", False, "a-hash")


def test_column_that_is_no_longer_kept_makes_no_new_rows(night: Nights) -> None:
    """The embed step compares the columns, and writes the table without it."""
    tonight = night(catalogue={"keep_columns": []})
    assert tonight.stays(listed(price=6), embedded())


@pytest.mark.parametrize(
    ("mode", "sections", "status"),
    [
        ("stat", {"catalogue": {"image_root": "/elsewhere"}}, "changed"),
        ("column", {"catalogue": {"image_root": "/elsewhere"}}, "changed"),
        ("content", {"catalogue": {"image_root": "/elsewhere"}}, "unchanged"),
        ("stat", {"images": {"max_bytes": 999}}, "changed"),
        ("column", {"images": {"max_bytes": 999}}, "changed"),
        ("stat", {"images": {"max_bytes": 1001}}, "unchanged"),
        ("stat", {"images": {"fetch_threads": 1}}, "unchanged"),
    ],
)
def test_fingerprint_counts_for_one_root_under_limits_that_let_the_picture_through(
    night: Nights, mode: str, sections: dict[str, Any], status: str
) -> None:
    tonight = night(mode, made_with=LIMITS, **sections)
    delta, _ = tonight.compare([listed()], [embedded()])
    assert (delta.counts[status], delta.kept) == (1, int(status == "unchanged"))


@pytest.mark.parametrize(
    "images", [{"max_bytes": 1001}, {"max_bytes": 999}, {"max_pixels": 10_001}, {"max_pixels": 9_999}]
)
def test_lasting_failure_is_retried_under_other_limits(night: Nights, images: dict[str, int]) -> None:
    row = night(made_with=LIMITS, images={**LIMITS["images"], **images}).failure(listed(), failed(reason="too_large"))
    assert (row["keep"], row["attempts"], row["first_failed_at"]) == (False, 3, FIRST)


def test_another_model_makes_new_rows_and_reads_every_picture(night: Nights) -> None:
    tonight = night()
    tonight.was_failed = [failed("b")]
    delta, rows = tonight.compare([listed("a"), listed("b")], [embedded("a")], "model-b")
    assert (rows["a"]["status"], rows["a"]["keep"], rows["a"]["image_hash"]) == ("unchanged", False, None)
    assert rows["b"]["keep"]  # it failed before any model was used
    assert (delta.to_read, delta.kept, delta.dropped, delta.rewritten) == (1, 0, 1, 1)


def test_failure_that_reading_repeats_is_kept_only_if_it_is_lasting(night: Nights) -> None:
    """With change_detection content, bytes that cannot be read have no fingerprint: the reason is compared."""
    readings: dict[str, dict[str, Any]] = {
        "empty": {"reason": "empty", "detail": "0 bytes", "permanent": True, "fingerprint": None},
        "missing": {"reason": "not_found", "detail": "no such file", "permanent": False, "fingerprint": None},
        "grown": {"reason": "too_large", "detail": "9 bytes", "permanent": True, "fingerprint": None},
        "first": {"reason": "empty", "detail": "0 bytes", "permanent": True, "fingerprint": None},
    }
    tonight = night("content")
    tonight.was_failed = [
        failed("empty", **readings["empty"]),
        failed("missing", **readings["missing"]),
        failed("grown", **readings["empty"]),
    ]
    delta, rows = tonight.compare([listed(item, **reading) for item, reading in readings.items()], [])
    assert [item for item, row in rows.items() if row["keep"]] == ["empty"]
    assert (delta.to_read, delta.rewritten) == (0, 3)
    assert (rows["first"]["status"], rows["first"]["attempts"]) == ("new", 0)


@pytest.mark.parametrize(("accepted", "expected"), [(True, {"whole", "cut", "turned"}), (False, {"whole", "turned"})])
def test_vector_of_a_truncated_picture_is_reusable_only_if_those_are_accepted(
    spark: SparkSession, settings: Callable[..., config.Settings], accepted: bool, expected: set[str]
) -> None:
    fixes = {"whole": [], "cut": ["exif_rotated", TRUNCATED], "turned": ["exif_rotated"]}
    rows = [(item, "model", 9, 9, list(done)) for item, done in fixes.items()]
    rows += [("other", "another", 9, 9, []), ("large", "model", 9_000, 9_000, [])]
    frame = spark.createDataFrame(rows, "item_id string, model_id string, width int, height int, fixes array<string>")
    chosen = settings(images={"accept_truncated": accepted})
    assert {row["item_id"] for row in frame.where(reusable("model", chosen)).collect()} == expected


def test_vectors_of_an_earlier_release_with_a_damaged_footer_are_not_reused(tmp_path: Path) -> None:
    releases = [ReleaseFolder(tmp_path / name) for name in ("r1", "r2", "r3")]
    for release in releases:
        release_files.fill(release, {"a": "hash"})
        records.write_record(release)
    (file,) = releases[1].embeddings.iterdir()
    data = bytearray(file.read_bytes())
    data[-12] ^= 1
    file.write_bytes(data)
    assert earlier_releases(releases, "feed5eed", releases[2]) == [releases[0]]
