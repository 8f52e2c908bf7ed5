"""The embed step through Spark: every item ends in exactly one of two tables."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from pyspark.sql import DataFrame, Row, SparkSession

from conftest import Drawn
from lookalike import catalogue, config, embed, schemas
from lookalike.drawings import KINDS, draw_picture
from lookalike.engine import Engine
from lookalike.images import content_hash, decode
from lookalike.mapper import unit_length
from lookalike.models import CompiledModel
from lookalike.release import Warehouse


@pytest.fixture(scope="module")
def written(
    spark: SparkSession,
    drawn: Drawn,
    model: CompiledModel,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[DataFrame, DataFrame]]:
    """Embeddings and failures of the drawn catalogue, with kept columns."""
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
        yield embed.write_tables(catalogue.read(spark, settings), model, settings, staged)


def by_id(frame: DataFrame) -> dict[str, Row]:
    return {row["item_id"]: row for row in frame.collect()}


def test_every_item_is_embedded_or_has_its_reason(drawn: Drawn, written: tuple[DataFrame, DataFrame]) -> None:
    embedded, failed = map(by_id, written)
    assert set(embedded) == set(drawn.table["item_id"].to_pylist()) - set(drawn.bad)
    assert {item: row["reason"] for item, row in failed.items()} == drawn.bad
    assert all(row["permanent"] and row["attempts"] == 1 and row["detail"] for row in failed.values())


def test_vectors_are_those_of_the_engine_alone(
    drawn: Drawn, model: CompiledModel, written: tuple[DataFrame, DataFrame]
) -> None:
    engine, limits = Engine(model.artefact), config.Images()
    for item_id, row in list(by_id(written[0]).items())[:9]:
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


def test_embeddings_have_unit_length(written: tuple[DataFrame, DataFrame]) -> None:
    vectors = np.array([row["embedding"] for row in written[0].collect()])
    assert vectors.shape[1] == 2048
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_tables_have_the_contract_s_columns_then_the_kept_ones(
    drawn: Drawn, written: tuple[DataFrame, DataFrame]
) -> None:
    embeddings, failures = written
    assert embeddings.columns == [*schemas.EMBEDDINGS.fieldNames(), "kind", "price", "colour"]
    assert failures.columns == schemas.FAILURES.fieldNames()
    wanted = {row["item_id"]: row for row in drawn.table.to_pylist()}
    for item_id, row in by_id(embeddings).items():
        assert (row["kind"], row["price"]) == (wanted[item_id]["kind"], wanted[item_id]["price"])


def test_catalogue_of_bad_pictures_only_gives_an_empty_embeddings_table(
    spark: SparkSession,
    drawn: Drawn,
    model: CompiledModel,
    settings: Callable[..., config.Settings],
) -> None:
    chosen = settings()
    items = catalogue.read(spark, chosen).where("item_id IN ('gone', 'page')")
    with Warehouse(chosen.warehouse.path).stage() as staged:
        embeddings, failures = embed.write_tables(items, model, chosen, staged)
        assert (embeddings.count(), failures.count()) == (0, 2)


def test_large_jpeg_decoded_at_reduced_scale_keeps_its_vector(model: CompiledModel) -> None:
    """Cosine to full decoding of at least 0.995 at any size from just over the input's to a camera's."""
    engine, limits = Engine(model.artefact), config.Images()
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
    items = catalogue.read(spark, settings())
    whole = embed.sample_pictures(items, settings(), 100)
    assert whole.shape == (72, 112, 112, 3)
    np.testing.assert_array_equal(embed.sample_pictures(items, settings(), 10), whole[:10])
    other = embed.sample_pictures(items, settings(model={"seed": 8}), 10)
    assert not np.array_equal(other, whole[:10])


@pytest.mark.parametrize(
    ("pictures", "cores", "expected"),
    [(0, 2, 1), (1, 2, 1), (3, 8, 3), (512, 2, 2), (6000, 2, 12), (1_000_000, 100, 2000)],
)
def test_tasks_are_a_multiple_of_the_cores_when_there_is_work_for_all(pictures: int, cores: int, expected: int) -> None:
    assert embed.plan_tasks(pictures, cores) == expected
