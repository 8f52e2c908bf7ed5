"""The embed step on Spark: every item is in exactly one of the two tables."""

from __future__ import annotations

import io
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from lookalike import config
from lookalike.catalogue.delta import compare_to_release
from lookalike.catalogue.read import read_catalogue
from lookalike.demo.pictures import KINDS, draw_picture
from lookalike.embedding import outcomes, tables
from lookalike.embedding.checkpoints import Checkpoints
from lookalike.embedding.known import HEX_DIGITS, KnownHashes
from lookalike.embedding.step import sample_pictures, with_fingerprint, write_embeddings
from lookalike.embedding.tables import EmbeddedTables, EmbedRun
from lookalike.errors import CountError
from lookalike.failures import REASONS
from lookalike.images.decode import decode
from lookalike.images.picture import content_hash
from lookalike.models.litert import LiteRtEngine
from lookalike.models.network import CompiledModel
from lookalike.spark import schemas
from lookalike.topk.items import unit_length
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder, Staged
from support import picture_server
from support.drawn import Drawn


def write(
    items: DataFrame,
    model: CompiledModel,
    settings: config.Settings,
    staged: Staged,
    earlier: Sequence[ReleaseFolder] = (),
) -> EmbeddedTables:
    """Run the embed step in a warehouse without a current release."""
    checkpoints = Checkpoints.open(staged.work / "checkpoints", model.model_id, settings.images, staged.shared)
    run = EmbedRun(model, settings, staged, checkpoints, earlier=earlier)
    items, content = with_fingerprint(items, items.count(), run)
    delta = compare_to_release(items, None, model.model_id, settings, staged)
    return write_embeddings(delta, run, content)


@pytest.fixture(scope="module")
def written(
    spark: SparkSession,
    drawn: Drawn,
    model: CompiledModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[EmbeddedTables]:
    """Write embeddings and failures of the drawn catalogue, with kept columns."""
    settings = config.Settings.model_validate(
        {
            "catalogue": {
                "path": str(drawn.path),
                "image_root": str(drawn.folder),
                "keep_columns": ["kind", "price"],
            },
            "warehouse": {"path": str(tmp_path_factory.mktemp("warehouse"))},
            "similar": {"group_by": "colour"},
        }
    )
    with Warehouse(settings.warehouse.path).stage() as staged:
        yield write(read_catalogue(spark, settings), model, settings, staged)


def by_id(frame: DataFrame) -> dict[str, Row]:
    return {row["item_id"]: row for row in frame.collect()}


def test_every_item_is_embedded_or_has_its_reason(drawn: Drawn, written: EmbeddedTables) -> None:
    embedded, failed = by_id(written.embeddings), by_id(written.failures)
    assert set(embedded) == set(drawn.table["item_id"].to_pylist()) - set(drawn.bad)
    assert {item: row["reason"] for item, row in failed.items()} == drawn.bad
    assert all(row["permanent"] is REASONS[row["reason"]] for row in failed.values())
    assert all(row["attempts"] == 1 and row["detail"] for row in failed.values())
    assert all(row["first_failed_at"] == row["last_failed_at"] for row in failed.values())


def test_failure_has_the_hash_of_the_bytes_if_there_are_any(drawn: Drawn, written: EmbeddedTables) -> None:
    hashes = {item: row["image_hash"] for item, row in by_id(written.failures).items()}
    expected = {name: content_hash((drawn.folder / f"images/{name}.jpg").read_bytes()) for name in ("page", "cut")}
    assert hashes == {**dict.fromkeys(drawn.bad), **expected}


def test_every_picture_is_read_and_each_different_one_is_embedded(drawn: Drawn, written: EmbeddedTables) -> None:
    different = {row["image_hash"] for row in written.embeddings.collect()}
    assert written.changed
    assert (written.pictures_read, written.pictures_embedded) == (len(drawn.table), len(different))


def test_same_bytes_are_embedded_once_for_all_their_items(
    spark: SparkSession,
    drawn: Drawn,
    model: CompiledModel,
    settings: Callable[..., config.Settings],
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = settings()
    (first, second), folder = drawn.table["image_path"].to_pylist()[:2], drawn.folder / "images"
    copy = Path(shutil.copy(drawn.folder / first, folder / "copy.jpg"))
    paths = {"a": first, "b": first, "c": f"images/{copy.name}", "d": second, "x": "images/page.jpg"}
    rows = [(item, path, None) for item, path in {**paths, "y": "images/page.jpg"}.items()]
    try:
        with Warehouse(chosen.warehouse.path).stage() as staged:
            done = write(spark.createDataFrame(rows, schemas.ITEMS), model, chosen, staged)
            embedded, failed = by_id(done.embeddings), by_id(done.failures)
    finally:
        copy.unlink()
    assert (done.pictures_read, done.pictures_embedded) == (4, 2)  # each path once
    assert " 4/4 [" in capsys.readouterr().err.splitlines()[-1]
    assert {item: row["image_path"] for item, row in embedded.items()} == {item: paths[item] for item in "abcd"}
    assert embedded["a"]["embedding"] == embedded["b"]["embedding"] == embedded["c"]["embedding"]
    assert embedded["a"]["embedding"] != embedded["d"]["embedding"]
    assert {item: row["reason"] for item, row in failed.items()} == {"x": "not_an_image", "y": "not_an_image"}


@pytest.mark.parametrize("mode", ["stat", "content"])
def test_each_picture_is_fetched_once(
    spark: SparkSession, model: CompiledModel, settings: Callable[..., config.Settings], mode: str
) -> None:
    server = picture_server.Server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    paths = {f"item-{n}": server.url(f"picture/{n % 5}{'?other=1' * (n == 7)}") for n in range(8)}
    paths["gone"] = server.url("status/404")
    chosen = settings(catalogue={"change_detection": mode}, images={"allow_private_addresses": True})
    rows = [(item, path, None) for item, path in paths.items()]
    try:
        with Warehouse(chosen.warehouse.path).stage() as staged:
            done = write(spark.createDataFrame(rows, schemas.ITEMS), model, chosen, staged)
            embedded, failed = by_id(done.embeddings), by_id(done.failures)
            assert set(done.new_files) == set(staged.embeddings.glob("*.parquet"))
            assert done.dropped is None
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    fetched = Counter(one.path for one in server.requests if one.command == "GET")
    assert fetched == dict.fromkeys((path.removeprefix(server.url("")[:-1]) for path in paths.values()), 1)
    assert (done.pictures_read, done.pictures_embedded) == (7, 5)
    assert (set(embedded), set(failed)) == (set(paths) - {"gone"}, {"gone"})
    assert embedded["item-2"]["embedding"] == embedded["item-7"]["embedding"] != embedded["item-1"]["embedding"]


def test_bytes_whose_hash_begins_like_a_known_one_are_read_again(
    spark: SparkSession,
    drawn: Drawn,
    model: CompiledModel,
    settings: Callable[..., config.Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = drawn.table["image_path"].to_pylist()[:3]
    hashes = [content_hash((drawn.folder / path).read_bytes()) for path in paths]
    wrong = KnownHashes(np.sort([int(one[:HEX_DIGITS], 16) for one in hashes[:2]]))
    monkeypatch.setattr(outcomes, "known_hashes", lambda *_: wrong)
    items = spark.createDataFrame([(path, path, None) for path in paths], schemas.ITEMS)
    chosen = settings()
    with Warehouse(chosen.warehouse.path).stage() as staged:
        done = write(items, model, chosen, staged)
        assert {item: row["image_hash"] for item, row in by_id(done.embeddings).items()} == dict(
            zip(paths, hashes, strict=True)
        )
        assert done.failures.isEmpty()
    assert (done.pictures_read, done.pictures_embedded) == (5, 3)


@pytest.mark.parametrize("damaged", [False, True])
def test_vectors_of_an_earlier_release_are_used_unless_they_are_damaged(
    spark: SparkSession,
    model: CompiledModel,
    settings: Callable[..., config.Settings],
    written: EmbeddedTables,
    tmp_path: Path,
    damaged: bool,
) -> None:
    earlier = ReleaseFolder(tmp_path / "earlier")
    for file in written.new_files:
        earlier.embeddings.mkdir(parents=True, exist_ok=True)
        damage_vectors(Path(shutil.copy(file, earlier.embeddings)), times=int(damaged))
    before = {item: row["embedding"] for item, row in by_id(written.embeddings).items()}
    chosen = settings()
    items = read_catalogue(spark, chosen).where("item_id IN ('item-0001', 'item-0002', 'gone')")
    with Warehouse(chosen.warehouse.path).stage() as staged:
        done = write(items, model, chosen, staged, [earlier])
        after = {item: row["embedding"] for item, row in by_id(done.embeddings).items()}
        failed = by_id(done.failures)
    assert after == {item: before[item] for item in after}
    assert set(failed) == set(by_id(items)) - set(after)
    again = len(after) if damaged else 0
    assert (done.pictures_read, done.pictures_embedded) == (len(failed) + len(after) + again, again)


def damage_vectors(file: Path, times: int) -> None:
    """Flip a bit of the vectors of a file."""
    group = pq.read_metadata(file).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    (vector,) = (column for column in columns if column.path_in_schema.startswith("embedding."))
    data = bytearray(file.read_bytes())
    data[vector.data_page_offset + vector.total_compressed_size // 2] ^= times
    file.write_bytes(data)


def test_vectors_are_those_of_the_engine(drawn: Drawn, model: CompiledModel, written: EmbeddedTables) -> None:
    engine, limits = LiteRtEngine(model.artefact), config.ImageSettings()
    for item_id, row in list(by_id(written.embeddings).items())[:9]:
        data = (drawn.folder / row["image_path"]).read_bytes()
        picture = decode(data, 112, limits)
        vectors, norms = unit_length(engine.embed(picture.pixels[None]))
        np.testing.assert_array_equal(np.float32(row["embedding"]), vectors[0], err_msg=item_id)
        assert (row["norm"], row["width"], row["height"]) == (
            norms[0],
            picture.width,
            picture.height,
        )
        assert row["image_hash"] == content_hash(data)
        assert row["model_id"] == model.model_id


def test_embeddings_have_unit_length(written: EmbeddedTables) -> None:
    vectors = np.array([row["embedding"] for row in written.embeddings.collect()])
    assert vectors.shape[1] == 2048
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_tables_have_the_contract_s_columns_then_the_kept_ones(drawn: Drawn, written: EmbeddedTables) -> None:
    embeddings, failures = written.embeddings, written.failures
    assert embeddings.columns == [*schemas.EMBEDDINGS.fieldNames(), "kind", "price", "colour"]
    assert failures.columns == schemas.FAILURES.fieldNames()
    wanted = {row["item_id"]: row for row in drawn.table.to_pylist()}
    for item_id, row in by_id(embeddings).items():
        assert (row["kind"], row["price"]) == (wanted[item_id]["kind"], wanted[item_id]["price"])


def test_kept_column_may_have_any_name_that_no_table_has(
    spark: SparkSession, model: CompiledModel, settings: Callable[..., config.Settings]
) -> None:
    names = ["status", "keep", "kept", "in_catalogue", "old_hash", "was_embedded"]  # columns of the steps
    names += ["item", "hashing", "outcome", "has_outcome", "embed_reason", "a b.c"]
    items = read_catalogue(spark, settings()).where("item_id < 'item-0003'")
    labelled = items.select("*", *(F.concat(F.lit(f"{name} of "), "item_id").alias(name) for name in names))
    chosen = settings(catalogue={"keep_columns": names})
    with Warehouse(chosen.warehouse.path).stage() as staged:
        rows = by_id(write(labelled, model, chosen, staged).embeddings)
    assert rows
    assert all(row[name] == f"{name} of {item_id}" for item_id, row in rows.items() for name in names)


def test_catalogue_of_bad_pictures_only_gives_an_empty_embeddings_table(
    spark: SparkSession,
    drawn: Drawn,
    model: CompiledModel,
    settings: Callable[..., config.Settings],
) -> None:
    chosen = settings()
    items = read_catalogue(spark, chosen).where("item_id IN ('gone', 'page')")
    with Warehouse(chosen.warehouse.path).stage() as staged:
        done = write(items, model, chosen, staged)
        assert (done.embeddings.count(), done.failures.count()) == (0, 2)
        assert (done.pictures_read, done.pictures_embedded) == (2, 0)


def test_error_of_what_is_carried_is_not_hidden_by_the_table_that_it_should_have_made(
    spark: SparkSession, settings: Callable[..., config.Settings], model: CompiledModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise CountError("rows are missing")

    monkeypatch.setattr(tables, "can_carry", lambda *_: True)
    monkeypatch.setattr(tables, "carry", fail)
    chosen = settings()
    items = read_catalogue(spark, chosen).where("item_id = 'gone'")
    with Warehouse(chosen.warehouse.path).stage() as staged, pytest.raises(CountError, match="rows are missing"):
        write(items, model, chosen, staged)


def test_no_value_of_a_path_ends_the_step(
    spark: SparkSession, model: CompiledModel, settings: Callable[..., config.Settings]
) -> None:
    paths = {
        "null": None,
        "blank": " \t",
        "nul": "a\0.jpg",
        "line": "a\n.jpg",
        "replaced": "\ufffd.jpg",
        "long": "a" * 10**6,
    }
    rows = [(item, path, None) for item, path in paths.items()]
    chosen = settings(catalogue={"change_detection": "content"})
    with Warehouse(chosen.warehouse.path).stage() as staged:
        done = write(spark.createDataFrame(rows, schemas.ITEMS), model, chosen, staged)
        failed = by_id(done.failures)
    assert {item: row["image_path"] for item, row in failed.items()} == paths
    assert {item: row["reason"] for item, row in failed.items()} == {
        "null": "no_path",
        "blank": "no_path",
        "nul": "bad_uri",
        "long": "bad_uri",
        "line": "not_found",
        "replaced": "not_found",
    }


def test_large_jpeg_decoded_at_reduced_scale_keeps_its_vector(model: CompiledModel) -> None:
    """The cosine to full decoding is at least 0.995, from just over the size of the input to that of a camera."""
    engine, limits = LiteRtEngine(model.artefact), config.ImageSettings()
    rng = np.random.default_rng(5)
    for number, size in enumerate([(230, 240), (450, 460), (900, 910), (1500, 2000), (4000, 3000)]):
        picture = draw_picture(KINDS[number], "navy", "checks", rng, size=(640, 800)).resize(size)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        pixels = np.stack([decode(buffer.getvalue(), 112, limits, draft=draft).pixels for draft in (True, False)])
        (reduced, full), _ = unit_length(engine.embed(pixels))
        assert float(reduced @ full) > 0.995, size


def test_calibration_sample_is_seeded_and_skips_bad_pictures(
    spark: SparkSession, settings: Callable[..., config.Settings]
) -> None:
    # Python has no such time: the sample must not bring it to the driver.
    items = read_catalogue(spark, settings()).withColumn("valid_until", F.expr("timestamp_seconds(400000000000)"))
    whole = sample_pictures(items, settings(), 100)
    assert whole.shape == (72, 112, 112, 3)
    np.testing.assert_array_equal(sample_pictures(items, settings(), 10), whole[:10])
    other = sample_pictures(items, settings(model={"seed": 8}), 10)
    assert not np.array_equal(other, whole[:10])
