"""The architecture contracts of pyproject.toml: each is broken on purpose, and lint-imports must say so.

They read import statements. What those lead to inside other packages is seen in a fresh interpreter.
"""

from __future__ import annotations

import ast
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.drawn import ROOT

LAYERS = "A package knows those below it"
SPARK = "Spark is known to these, and nothing else imports them"
TENSORFLOW = "TensorFlow reads Keras's weights, and is imported for nothing else"
KERAS_WEIGHTS = "Only the reader of weights files asks TensorFlow"
LIBRARIES = "A library that could be exchanged is imported in one place"
JOBS = "The jobs are doors to the command"

CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"]


@dataclass(frozen=True)
class Violation:
    """Lines that are put at the end of a file, new or old, and the contract that they break."""

    contract: str
    file: str
    lines: str


VIOLATIONS = {
    "upwards": Violation(LAYERS, "lib/lookalike/storage/uri.py", "from lookalike.images import decode"),
    "upwards, in a function": Violation(
        LAYERS, "lib/lookalike/config/values.py", "def f():\n    import lookalike.images.decode"
    ),
    "sideways": Violation(LAYERS, "lib/lookalike/serving/shard.py", "from lookalike.sql import queries"),
    "a package that no layer names": Violation(LAYERS, "lib/lookalike/extras/__init__.py", '"""Extras."""'),
    "a module that no layer names": Violation(LAYERS, "lib/lookalike/extra.py", '"""Extra."""'),
    "Spark in a kernel": Violation(SPARK, "lib/lookalike/knn/blocks.py", "import pyspark"),
    "Spark in a function": Violation(SPARK, "lib/lookalike/serving/shard.py", "def f():\n    from pyspark import sql"),
    "Spark in a new module": Violation(SPARK, "lib/lookalike/index/merging.py", "from py4j import protocol"),
    "Spark by a detour": Violation(SPARK, "lib/lookalike/knn/blocks.py", "from lookalike.catalogue import read"),
    "a step in a kernel": Violation(SPARK, "lib/lookalike/embedding/stream.py", "import lookalike.embedding.step"),
    "TensorFlow": Violation(TENSORFLOW, "lib/lookalike/quality/gates.py", "import tensorflow as tf"),
    "Keras": Violation(TENSORFLOW, "lib/lookalike/models/litert.py", "from keras import layers"),
    "TensorFlow by a detour": Violation(
        KERAS_WEIGHTS, "lib/lookalike/embedding/task.py", "from lookalike.models import keras_weights"
    ),
    "an engine": Violation(LIBRARIES, "lib/lookalike/models/runtime.py", "import openvino"),
    "a library of the web": Violation(LIBRARIES, "lib/lookalike/catalogue/read.py", "def f():\n    import urllib3"),
    "a job past the command": Violation(JOBS, "jobs/show.py", "from lookalike import pipeline"),
    "a job with Spark": Violation(JOBS, "jobs/new.py", "from pyspark.sql import SparkSession"),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the contracts are about."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("lib", "jobs"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "weights")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def broken(tree: Path) -> list[str]:
    """Names of the contracts that lint-imports finds broken."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(tree / "lib"), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    found = re.findall(r"^(.*) BROKEN", done.stdout, re.MULTILINE)
    assert "Contracts: " in done.stdout, done.stdout + done.stderr
    assert bool(found) == bool(done.returncode)
    return found


def test_untouched_copy_keeps_every_contract(tree: Path) -> None:
    assert broken(tree) == []


@contextmanager
def planted(path: Path, lines: str) -> Iterator[None]:
    """While it lasts, the file ends with the lines."""
    before = path.read_text(encoding="utf-8") if path.exists() else None
    new_folder = not path.parent.exists()
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{before or ''}\n{lines}\n", encoding="utf-8")
    try:
        yield
    finally:
        if before is not None:
            path.write_text(before, encoding="utf-8")
        else:
            shutil.rmtree(path.parent) if new_folder else path.unlink()


@pytest.mark.parametrize("violation", VIOLATIONS.values(), ids=VIOLATIONS)
def test_violation_breaks_its_contract(tree: Path, violation: Violation) -> None:
    with planted(tree / violation.file, violation.lines):
        assert broken(tree) == [violation.contract]


def test_every_contract_is_broken_by_a_violation() -> None:
    assert {violation.contract for violation in VIOLATIONS.values()} == {contract["name"] for contract in CONTRACTS}


def test_who_may_import_spark_is_not_imported_by_others() -> None:
    """Only so does no chain of imports lead to Spark from anywhere else."""
    spark = next(contract for contract in CONTRACTS if contract["name"] == SPARK)
    assert {*spark["allowed_importers"], "pyspark", "py4j"} == {*spark["protected_modules"], "jobs"}


def test_every_folder_of_modules_is_a_package() -> None:
    """The contracts do not see the modules of a folder without `__init__.py`."""
    folders = {path.parent for path in (ROOT / "lib/lookalike").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_package_init_holds_a_docstring_only() -> None:
    packages = sorted((ROOT / "lib/lookalike").glob("*/**/__init__.py"))
    bodies = {path: ast.parse(path.read_text(encoding="utf-8")).body for path in packages}
    assert len(packages) > 10
    bodies.pop(ROOT / "lib/lookalike/config/__init__.py")  # the door of all sections; without Spark, as imports show
    assert [path for path, body in bodies.items() if len(body) != 1 or not isinstance(body[0], ast.Expr)] == []


# Imports what it is given, in the order given; prints each that loads what a Spark worker has no need of.
IMPORTER = """
import importlib, sys
heavy = {"tensorflow", "keras", "h5py", "pyspark", "py4j"}
for name in sys.argv[1:]:
    importlib.import_module(name)
    if heavy & set(sys.modules):
        sys.exit(f"{name} loads {heavy & set(sys.modules)}")
print(len(sys.argv) - 1)
"""


def test_modules_that_may_not_import_spark_load_neither_it_nor_tensorflow() -> None:
    spark = next(contract for contract in CONTRACTS if contract["name"] == SPARK)
    names = [found.name for found in pkgutil.walk_packages([str(ROOT / "lib/lookalike")], "lookalike.")]
    tensorflow = next(contract for contract in CONTRACTS if contract["name"] == TENSORFLOW)
    compilers = {line.split(" -> ")[0] for line in tensorflow["ignore_imports"]}
    assert compilers == {"lookalike.models.keras_weights"}
    users = [*spark["allowed_importers"], *compilers]
    others = [name for name in names if not any(f"{name}.".startswith(f"{user}.") for user in users)]
    done = subprocess.run([sys.executable, "-c", IMPORTER, *others], capture_output=True, text=True)
    assert (done.stderr, done.stdout) == ("", f"{len(others)}\n")
    assert len(others) > 40
