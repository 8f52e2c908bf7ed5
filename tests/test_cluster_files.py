"""The files of conf/cluster: each says whether a test runs it, and all are at least what their names say."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from support.drawn import ROOT
from support.pages import table

FOLDER = ROOT / "conf/cluster"
FILES = sorted(FOLDER.iterdir())


def first_line(file: Path) -> str:
    """The first line that is no #!."""
    return next(line for line in file.read_text().splitlines() if not line.startswith("#!"))


def runs_it(file: Path) -> bool:
    found = re.match(r"# (?:Not run by any test|Run by (\S+\.py))[.,]", first_line(file))
    assert found, "its first line says whether a test runs it"
    return found[1] is not None and file.name in (ROOT / found[1]).read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_file_says_first_whether_a_test_runs_it(file: Path) -> None:
    assert runs_it(file) or first_line(file).startswith("# Not run")


def test_page_lists_all_and_says_what_a_test_runs() -> None:
    rows = {row[0].strip("`"): row[2] for row in table(ROOT / "docs/cluster.md", "Submit the job")}
    assert rows.keys() == {f"conf/cluster/{file.name}" for file in FILES}
    assert {name for name, run in rows.items() if run == "yes"} == {
        f"conf/cluster/{file.name}" for file in FILES if runs_it(file)
    }


@pytest.mark.parametrize("file", [one for one in FILES if one.suffix == ".sh"], ids=lambda file: file.name)
def test_script_is_one_of_bash(file: Path) -> None:
    assert file.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", file], capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize("file", [one for one in FILES if one.suffix == ".conf"], ids=lambda file: file.name)
def test_settings_of_spark_are_keys_with_values(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    assert lines
    assert [line for line in lines if not re.fullmatch(r"spark\.[A-Za-z.]+ +\S+", line)] == []


def test_template_and_dag_are_yaml_and_python() -> None:
    assert yaml.safe_load((FOLDER / "kubernetes-pod.yaml").read_text())["kind"] == "Pod"
    assert ast.parse((FOLDER / "airflow_dag.py").read_text()).body
