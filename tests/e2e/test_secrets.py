"""A run over a catalogue full of secrets: they stay in the columns that are the catalogue's own, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from lookalike.models.network import CompiledModel
from support import shop
from support.command import command
from support.secret_paths import PATHS, SECRET
from support.shop import Shop

ID = f"https://user:{SECRET}@shop/p?id=1&sig={SECRET}"
LABEL = f"https://user:{SECRET}@shop/\x1b[31m\u202e"

# What the catalogue calls an item, and what it says of it, is kept as it is in the tables and in the index.
KEPT = ("item_id", "similar_item_id", "representative_item_id", "image_path", "kind")


@pytest.fixture(scope="module")
def output(spark: SparkSession, model: CompiledModel, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """All that a run, and the commands after it, print and write."""
    folder = tmp_path_factory.mktemp("leaks")
    made = Shop.of(folder / "shop", 12 + len(PATHS))
    _write_catalogue(made)
    warehouse = shop.new_warehouse(folder / "wh", model)
    settings = made.settings(warehouse, similar={"group_by": "kind"}, report={"enabled": True}, images={"retries": 0})
    file = folder / "shop.yaml"
    file.write_text(json.dumps(settings.model_dump(mode="json")))
    texts = []
    for words in ("run --log-format json", "show --json", "releases show", "releases show --json", "releases list"):
        done = command(spark, words, file)
        assert done.code == 0, done.output
        texts.append(done.output)
    for item in (ID, "item-01", "item-20"):
        texts += [command(spark, "show", file, item, *more).output for more in ([], ["--json"])]
    return [*texts, *_written(warehouse)]


def _write_catalogue(made: Shop) -> None:
    """Write the catalogue, with a group and an item that are named by a secret, and a picture for each of PATHS."""
    made.write()
    file = made.folder / "catalogue.parquet"
    table = pq.read_table(file)
    rows = [{**row, "kind": LABEL} for row in table.to_pylist()]
    rows[0]["item_id"] = ID
    for number, path in enumerate(PATHS, 12):
        rows[number]["image_path"] = path
    pq.write_table(pa.Table.from_pylist(rows, table.schema), file)


def _written(warehouse: Path) -> Iterator[str]:
    """Yield the name and the text of each file, and each text of a table that is not the catalogue's own."""
    for path in sorted(warehouse.rglob("*")):
        yield str(path.relative_to(warehouse))
        if path.suffix == ".parquet":
            table = ds.dataset(path).to_table()
            texts = [name for name in table.column_names if table.schema.field(name).type == pa.string()]
            for name in set(texts) - set(KEPT):
                yield from filter(None, table[name].to_pylist())
        elif path.is_file() and path.suffix in ("", ".json", ".html") and path.name != "index.json":
            yield path.read_text(encoding="utf-8")


def test_no_secret_leaves_the_catalogues_own_columns(output: list[str]) -> None:
    assert [text[max(0, text.find(SECRET) - 300) : text.find(SECRET) + 40] for text in output if SECRET in text] == []


def test_no_control_character_leaves_them(output: list[str]) -> None:
    lines = [line for text in output for line in text.split("\n")]
    assert [line for line in lines if not line.isprintable()] == []


def test_what_a_person_needs_is_left(output: list[str]) -> None:
    text = "\n".join(output)
    for part in ("https://…@127.0.0.1/a.jpg", "https://…@shop/p?id=1&sig=…"):
        assert part in text
