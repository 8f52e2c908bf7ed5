"""What the documents list is what the code has: columns, reasons, gates, exit codes, keys, packages, files, links."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyspark.sql.types import StructType

from lookalike import config, errors, failures
from lookalike.cli import exits
from lookalike.sinks import metric_figures
from lookalike.sinks.run_end import RunEnd
from lookalike.spark import schemas
from lookalike.warehouse.record import ReleaseRecord
from support import records
from support.drawn import ROOT
from support.pages import anchors, guides, headings, links, pages, prose, spans, table

DOCS, LIBRARY = ROOT / "docs", ROOT / "lib/lookalike"


def codes(cells: list[str]) -> list[str]:
    """The cells that are nothing but code."""
    return [cell.strip("`") for cell in cells if re.fullmatch(r"`[^`]+`", cell)]


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("similar_items", schemas.SIMILAR_ITEMS),
        ("embeddings", schemas.EMBEDDINGS),
        ("failures", schemas.FAILURES),
        ("changes", schemas.CHANGES),
        ("duplicates", schemas.DUPLICATES),
        ("neighbours", schemas.NEIGHBOURS),
    ],
)
def test_columns_of_a_table_are_those_of_its_schema(name: str, schema: StructType) -> None:
    shown = [tuple(codes(row[:2])) for row in table(DOCS / "tables.md", name)]
    assert shown == [(field.name, field.dataType.simpleString()) for field in schema.fields]


def test_keys_of_release_json_are_those_of_its_type() -> None:
    assert [row[0].strip("`") for row in table(DOCS / "tables.md", "release.json")] == list(ReleaseRecord.model_fields)


def test_reasons_are_those_of_failures() -> None:
    rows = {row[0].strip("`"): row[1] for row in table(DOCS / "pictures.md", "Failures")}
    assert list(rows) == list(failures.REASONS)
    assert {name for name, again in rows.items() if not again} == {n for n, lasts in failures.REASONS.items() if lasts}
    assert {name for name, again in rows.items() if again.startswith("in the run")} == failures.RETRIED


def test_advice_about_each_reason_is_that_of_the_page() -> None:
    rows = {row[0].strip("`"): row[2] for row in table(DOCS / "pictures.md", "Failures")}
    assert rows == failures.ADVICE


def test_gates_and_their_defaults_are_those_of_the_settings() -> None:
    shown = {row[0].strip("`"): float(row[1]) for row in table(DOCS / "operations.md", "Gates")}
    gates = {f"gates.{name}": float(value) for name, value in config.GateSettings().model_dump().items()}
    assert shown == {**gates, "similar.recall_floor": config.SimilarSettings().recall_floor}


def test_metrics_are_those_of_the_code() -> None:
    now = datetime.now(UTC)
    full = records.record(
        files={"count": 1, "bytes": 1, "sha256": ""},
        pictures={"read": 1, "embedded": 1},
    )
    figures = [*metric_figures.of_run(RunEnd("published", 0, now, now)), *metric_figures.of_release(full)]
    shown = [[cell.replace("`", "") for cell in row] for row in table(DOCS / "operations.md", "Figures for Prometheus")]
    assert shown == [[one.name, ", ".join(one.labels), one.meaning] for one in figures]


def test_exit_codes_are_those_of_the_errors() -> None:
    shown = {int(code) for row in table(DOCS / "operations.md", "Exit codes") for code in row[0].split(", ")}
    raised = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}
    assert shown == {0, *raised, *(128 + number for number in exits.STOPPING)}


CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
PACKAGES = "Packages, and who may import whom"


def test_contracts_are_those_of_pyproject() -> None:
    shown = [row[0] for row in table(DOCS / "architecture.md", "The contracts")]
    assert shown == [contract["name"] for contract in CONTRACTS]


def test_packages_are_those_of_the_import_contract_in_its_order() -> None:
    (layers,) = [contract["layers"] for contract in CONTRACTS if contract["type"] == "layers"]
    rows = table(DOCS / "architecture.md", PACKAGES)
    shown = [re.sub(r"(/|\.py)$", "", row[0].strip("`")) for row in rows]
    assert shown == [name for layer in layers for name in re.split(r"\s*[|:]\s*", layer)]


def test_modules_of_a_package_are_those_of_its_folder() -> None:
    for row in table(DOCS / "architecture.md", PACKAGES):
        folder = LIBRARY / row[0].strip("`")
        modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
        assert set(re.findall(r"`(\w+)`", row[2])) == modules, f"{folder.name}: docs/architecture.md is stale"


def keys(page: Path) -> set[str]:
    """What looks like a key of the settings."""
    sections = "|".join(config.Settings.model_fields)
    found = {match[1] for span in spans(page) if (match := re.fullmatch(rf"((?:{sections})\.\w+)(: .*)?", span))}
    files = (".json", ".parquet", ".html")
    return {key for key in found if not key.endswith(files)} - {"model.predict"}  # Keras's


@pytest.mark.parametrize("page", guides(), ids=lambda page: page.name)
def test_keys_of_the_settings_exist(page: Path) -> None:
    assert keys(page) <= set(config.known_keys())


@pytest.mark.parametrize("page", guides(), ids=lambda page: page.name)
def test_files_of_the_repository_exist(page: Path) -> None:
    named = [span for span in spans(page) if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", span)]
    files = [span for span in named if re.search(r"\.(py|toml|yaml|md|lock)$|^(lib|jobs|conf|tests|docs)/", span)]
    made = {"shop.yaml", "conf/shop.yaml", "demo.yaml", "lookalike.yaml"}
    missing = [one for one in files if not (ROOT / one).exists() and not (LIBRARY / one).exists()]
    assert set(missing) <= made


def test_each_fault_names_the_tests_that_hold_its_promise() -> None:
    page = DOCS / "faults.md"
    for section in headings(page)[1:]:
        for fault, _, tests in table(page, section):
            named = codes(tests.split(", "))
            assert named, f"{section}: {fault}"
            assert [
                one for one in named if not re.match(r"tests/(\w+/)?test_", one) or not (ROOT / one).is_file()
            ] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked_from_readme_and_index() -> None:
    there = {path.name for path in DOCS.glob("*.md")} - {"index.md"}
    assert {Path(link).name for link in links(ROOT / "README.md")} >= there
    assert {Path(link).name for link in links(DOCS / "index.md")} >= there


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_page_has_one_title_and_says_what_it_is_for(page: Path) -> None:
    title, first, *_ = page.read_text(encoding="utf-8").split("\n\n")
    assert title == f"# {headings(page)[0]}"
    assert len(re.findall(r"^# ", prose(page), re.MULTILINE)) == 1
    assert re.match(r"This (page|site) |A run reads", first)


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130
