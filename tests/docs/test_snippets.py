"""What the documents show is run: Python and SQL on a small warehouse, YAML as settings, commands by their parser."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from pyspark.sql import SparkSession

from lookalike import config, pipeline
from lookalike.demo.catalogue import draw_catalogue
from lookalike.models.store import CompiledModel
from support.drawn import ROOT
from support.pages import LANGUAGES, Block, blocks, runnable
from support.shop import MODEL, new_warehouse

DEMO = "build/demo"


@pytest.fixture(scope="module")
def demo(spark: SparkSession, model: CompiledModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `make demo` has run, on fewer drawings."""
    folder = tmp_path_factory.mktemp("documents")
    draw_catalogue(folder / DEMO, items=40, seed=7)
    new_warehouse(folder / DEMO / "warehouse", model)
    raw = yaml.safe_load((ROOT / "conf/demo.yaml").read_text())
    raw["model"] |= MODEL
    raw["report"] = {"enabled": False}
    for section, key in (("catalogue", "path"), ("catalogue", "image_root"), ("warehouse", "path")):
        assert raw[section][key].startswith(DEMO)
        raw[section][key] = str(folder / raw[section][key])
    pipeline.refresh(spark, config.Settings.model_validate(raw))
    return folder


@pytest.mark.parametrize("block", blocks(), ids=str)
def test_block_names_its_language(block: Block) -> None:
    assert block.language in LANGUAGES


@pytest.mark.parametrize("block", runnable("python"), ids=str)
def test_python_runs_as_written(block: Block, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    names: dict[str, Any] = {}
    *statements, last = ast.parse(block.text).body
    exec(compile(ast.Module(statements, []), str(block), "exec"), names)
    assert isinstance(last, ast.Expr), "end with what the reader wants to see"
    assert eval(compile(ast.Expression(last.value), str(block), "eval"), names)


@pytest.mark.parametrize("block", [block for block in blocks("python") if not block.is_run], ids=str)
def test_python_that_cannot_run_is_python(block: Block) -> None:
    assert ast.parse(block.text).body


@pytest.mark.parametrize("block", runnable("sql"), ids=str)
def test_sql_gives_rows_in_the_dialect_that_it_names(
    block: Block, demo: Path, spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialect, query = block.text.split("\n", maxsplit=1)
    assert dialect in ("-- DuckDB", "-- Spark SQL")
    if dialect == "-- DuckDB":
        monkeypatch.chdir(demo)
        rows = duckdb.sql(query).fetchall()
    else:  # the JVM stays in its own folder
        rows = [tuple(row) for row in spark.sql(query.replace(DEMO, str(demo / DEMO))).collect()]
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    assert rows


@pytest.mark.parametrize("block", runnable("yaml"), ids=str)
def test_yaml_loads_as_settings(block: Block) -> None:
    shown = yaml.safe_load(block.text)
    needed = {"catalogue": {"path": "catalogue.parquet"}, "warehouse": {"path": "warehouse"}}
    given = {name: {**needed.get(name, {}), **shown.get(name, {})} for name in {*needed, *shown}}
    settings = config.Settings.model_validate(given)
    for name, keys in shown.items():
        section = getattr(settings, name).model_dump(mode="json")
        assert {key: section[key] for key in keys} == keys


def test_steps_of_a_run_are_those_that_the_page_of_operations_lists(demo: Path) -> None:
    steps = re.findall(r"^\d+\. \*\*(\w+)", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    (release,) = (demo / DEMO / "warehouse/releases").iterdir()
    taken = json.loads((release / "release.json").read_text())["seconds"]
    assert [step.lower() for step in steps if step.lower() in taken] == list(taken)
