"""A Spark standalone cluster in a machine room: a master, two workers, and drivers on a gateway."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyspark

from support import quick_spark
from support.cluster import room
from support.cluster.room import DRIVER_ADDRESS, Machine, Room, Running
from support.submit import Run

MASTER = f"spark://{DRIVER_ADDRESS}:7077"

# Of the process that runs the tasks of an application.
EXECUTOR = "CoarseGrainedExecutorBackend"

_SPARK = Path(pyspark.__path__[0])
_JAVA = Path(shutil.which("java") or "/no/such/java").resolve().parents[1]
_VARIABLES = {"SPARK_CONF_DIR": "/mnt/disk", "SPARK_DAEMON_MEMORY": "256m", "HOME": "/nonexistent"}
_ON_MACHINES = {**_VARIABLES, "SPARK_HOME": "/mnt/spark", "JAVA_HOME": "/mnt/java"}


def why_not() -> str | None:
    """Return why there can be no cluster here; None when there can."""
    if (reason := room.why_not()) is not None:
        return reason
    # Spark starts its daemons with this module, which the small Java of .venv lacks.
    java = [str(_JAVA / "bin/java"), "--add-modules=jdk.incubator.vector", "-version"]
    if not Path(java[0]).exists() or subprocess.run(java, capture_output=True).returncode:
        return "it needs a whole Java, 17 or 21, as `java` (on Debian: openjdk-17-jre-headless)"
    return None


@dataclass
class SparkCluster:
    """The cluster; `base` has the disks of its machines, `shared` is the folder that they share, if they do."""

    room: Room
    base: Path
    packed: Path  # driver.tar.gz, unpacked as `driver`, and next to it executor.tar.gz
    workers: dict[str, Running] = field(default_factory=dict)
    drivers: list[Running] = field(default_factory=list)
    _unusual: set[str] = field(default_factory=set)

    @property
    def shared(self) -> Path:
        """The folder that machines see as /mnt/shared."""
        return self.base / "shared"

    def start_master(self) -> None:
        """Start the master, on no machine of its own."""
        disk = self._new_disk("master")
        options = ["--host", DRIVER_ADDRESS, "--port", "7077", "--webui-port", "18080"]
        variables = {
            **_VARIABLES,
            "SPARK_CONF_DIR": str(disk),
            "SPARK_HOME": str(_SPARK),
            "JAVA_HOME": str(_JAVA),
            "SPARK_MASTER_OPTS": "-Dspark.ui.enabled=false -Dspark.worker.timeout=20",
        }
        command = [str(_SPARK / "bin/spark-class"), "org.apache.spark.deploy.master.Master", *options]
        self.master = self.room.start(command, self.base / "master.log", variables)
        self.master.until("I have been elected leader")

    def start_worker(self, number: int, *, shared: bool = True, variables: Mapping[str, str] | None = None) -> None:
        """Start a machine with a worker of one core; one without the shared folder has an empty one in its place."""
        name, address = f"w{number}", f"10.77.0.{10 + number}"
        disk = self._new_disk(name)
        folder = self.shared if shared else disk / "unmounted"
        folder.mkdir(exist_ok=True)
        machine = Machine(name, disk, {"spark": _SPARK, "java": _JAVA, "shared": folder}, address)
        own = {
            "SPARK_LOCAL_IP": address,
            "SPARK_LOCAL_DIRS": "/mnt/disk/local",
            "SPARK_WORKER_OPTS": "-Dspark.worker.ui.enabled=false",
        }
        options = ["--host", address, "--webui-port", "18081", "--cores", "1", "--memory", "1800m"]
        command = ["/mnt/spark/bin/spark-class", "org.apache.spark.deploy.worker.Worker", *options]
        command += ["--work-dir", "/mnt/disk/work", MASTER]
        (self._unusual.discard if shared and not variables else self._unusual.add)(name)
        known = self._registered(address)
        log = self.base / f"{name}.log"
        self.workers[name] = self.room.start(command, log, {**_ON_MACHINES, **own, **(variables or {})}, machine)
        while self._registered(address) == known:
            assert self.workers[name].process.poll() is None, self.workers[name].said()
            time.sleep(0.1)

    def kill_worker(self, number: int) -> None:
        """Let a machine lose its power: no connection is closed."""
        self.room.cut_off(f"w{number}")
        self.workers.pop(f"w{number}").kill()

    def start_job(
        self,
        settings: Mapping[str, object],
        *options: str,
        shared: bool = True,
        variables: Mapping[str, str] | None = None,
    ) -> Running:
        """Start the nightly job on the gateway, with further options of spark-submit and variables of the driver."""
        disk = self._new_disk(f"gateway{len(self.drivers)}")
        (disk / "job.yaml").write_text(json.dumps(settings))  # JSON is YAML
        (disk / "spark-defaults.conf").write_text("\n".join(" ".join(one) for one in _DEFAULTS.items()))
        folders = {"spark": _SPARK, "java": _JAVA, "packed": self.packed}
        machine = Machine("gateway", disk, {**folders, **({"shared": self.shared} if shared else {})})
        own = {
            **_ON_MACHINES,
            "SPARK_LOCAL_IP": DRIVER_ADDRESS,
            "MASTER": MASTER,
            "SUBMIT": " ".join([*_SUBMIT, *options]),
            **(variables or {}),
        }
        command = ["bash", "/mnt/packed/driver/cluster/standalone.sh", "/mnt/disk/job.yaml"]
        self.drivers.append(self.room.start(command, self.base / f"driver{len(self.drivers)}.log", own, machine))
        return self.drivers[-1]

    def end(self, driver: Running, seconds: float = 600) -> Run:
        """Wait for the end of a driver."""
        return Run(driver.process.wait(timeout=seconds), driver.said())

    def run_job(self, settings: Mapping[str, object], *options: str, **more: Any) -> Run:
        """Run the nightly job to its end; all as for start_job."""
        return self.end(self.start_job(settings, *options, **more))

    def repair(self) -> None:
        """End all drivers, and have two workers that see the shared folder, with empty disks."""
        for driver in self.drivers:
            driver.kill()
        for number in (1, 2):
            name = f"w{number}"
            if name in self._unusual or name not in self.workers or self.workers[name].process.poll() is not None:
                if name in self.workers:
                    self.workers.pop(name).kill()
                self.start_worker(number)
            for folder in (self.base / "disks" / name / "work").glob("app-*"):
                shutil.rmtree(folder, ignore_errors=True)

    def _registered(self, address: str) -> int:
        return self.master.said().count(f"Registering worker {address}:")

    def _new_disk(self, name: str) -> Path:
        """A folder for the disk of a machine, empty."""
        disk = self.base / "disks" / name
        shutil.rmtree(disk, ignore_errors=True)
        disk.mkdir(parents=True)
        return disk


# The machines are small: an executor of more than one core would not fit. With two, tasks are as in local[2].
_SUBMIT = (
    "--load-spark-defaults",
    "--conf spark.driver.memory=1g",
    "--conf spark.executor.memory=1g",
    "--conf spark.executor.cores=1",
    "--conf spark.cores.max=2",
)

_DEFAULTS = {
    "spark.driver.host": DRIVER_ADDRESS,
    "spark.driver.extraJavaOptions": quick_spark.JAVA,
    "spark.executor.extraJavaOptions": quick_spark.JAVA,
    "spark.ui.enabled": "false",
}
