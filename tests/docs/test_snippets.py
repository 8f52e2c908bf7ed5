"""What the documents show is run: Python and SQL on a small warehouse, YAML as settings, commands by their parser."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import warnings
from pathlib import Path
from typing import Any

import duckdb
import nbformat
import pytest
import yaml
from nbclient import NotebookClient
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
    """A folder in which `make demo` has run, on fewer drawings, one of them lost."""
    folder = tmp_path_factory.mktemp("documents")
    draw_catalogue(folder / DEMO, items=40, seed=7)
    (folder / DEMO / "images/item-0040.jpg").write_bytes(b"<html>")
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
    assert len(eval(compile(ast.Expression(last.value), str(block), "eval"), names))


@pytest.mark.parametrize("block", [block for block in blocks("python") if not block.is_run], ids=str)
def test_python_that_cannot_run_is_python(block: Block) -> None:
    assert ast.parse(block.text).body


DUCKDB, SPARK, BOTH = "-- DuckDB", "-- Spark SQL", "-- DuckDB and Spark SQL"
ONCE = ", once in a session"
SQL = [(*block.text.split("\n", maxsplit=1), block) for block in runnable("sql")]

Rows = list[tuple[Any, ...]]


def of_duckdb(query: str, demo: Path) -> Rows:
    """The rows of a query, after what the page runs once in a session."""
    with duckdb.connect() as connection, contextlib.chdir(demo):
        for dialect, statements, _ in SQL:
            if dialect == DUCKDB + ONCE:
                connection.execute(statements)
        return connection.sql(query).fetchall()


def of_spark(query: str, demo: Path, spark: SparkSession) -> Rows:
    """The same in Spark, whose JVM stays in its own folder."""
    for dialect, statements, _ in SQL:
        if dialect == SPARK + ONCE:
            for statement in filter(str.strip, statements.split(";")):
                spark.sql(statement.replace(DEMO, str(demo / DEMO)))
    return [tuple(row) for row in spark.sql(query.replace(DEMO, str(demo / DEMO))).collect()]


@pytest.mark.parametrize(("dialect", "query"), [one[:2] for one in SQL], ids=[str(block) for *_, block in SQL])
def test_sql_gives_rows_in_the_dialect_that_it_names(dialect: str, query: str, demo: Path, spark: SparkSession) -> None:
    assert dialect in (DUCKDB, SPARK, BOTH, DUCKDB + ONCE, SPARK + ONCE)
    if ONCE in dialect:
        return  # every query of both dialects runs after it
    rows = of_spark(query, demo, spark) if dialect == SPARK else of_duckdb(query, demo)
    assert rows
    if dialect == BOTH:
        assert as_json(of_spark(query, demo, spark)) == as_json(rows)
    else:
        assert [row[0] for row in rows] == list(range(1, len(rows) + 1))


def as_json(rows: Rows) -> str:
    """The rows with rounded figures: the sums of two engines differ in their last bits."""
    return json.dumps([[round(one, 5) if isinstance(one, float) else one for one in row] for row in rows], default=str)


def test_notebook_runs_and_shows_pictures(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(ROOT / "docs/notebook.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) == 5
    assert not any(cell.outputs or cell.execution_count for cell in code), "keep it without outputs"
    (demo / "docs").mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the messages between the kernel and its client
        NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(demo / "docs")}}).execute()
    shown = ["".join(one.data.get("text/html", "") for one in cell.outputs if "data" in one) for cell in code]
    assert [page.count("data:image/jpeg") > 1 for page in shown] == [False, True, True, True, False]
    assert "green" in code[-1].outputs[-1].data["text/plain"]


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
