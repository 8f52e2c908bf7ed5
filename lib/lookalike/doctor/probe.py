"""What a task finds out about the executor it runs on. Sent by its code: the executor may lack this package.

So it imports only what comes with Python before it knows that the rest is there.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from importlib import import_module, metadata, util
from typing import Any

# What decides which bytes come out, or whether a worker starts; the same version on every machine.
PACKAGES = ("lookalike", "pyspark", "numpy", "pyarrow", "pillow", "annoy")
ENGINES = {"ai-edge-litert": "ai_edge_litert", "openvino": "openvino"}

# Build an index and print its digest, in a process of its own: one built for another CPU may end it.
_GOLDEN = """
import hashlib, pathlib, tempfile
import numpy as np
from annoy import AnnoyIndex
with tempfile.TemporaryDirectory() as folder:
    path = str(pathlib.Path(folder, "golden.ann"))
    index = AnnoyIndex(64, "angular")
    index.set_seed(7)
    index.on_disk_build(path)
    for at, vector in enumerate(np.random.default_rng(7).standard_normal((400, 64)).tolist()):
        index.add_item(at, vector)
    index.build(4, n_jobs=1)
    index.unload()
    print(hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest())
"""


def look(_: object = None) -> dict[str, Any]:
    """Return what costs nothing to know of this process and its machine."""
    return {
        "host": socket.gethostname(),
        "python": sys.version.split()[0],
        "executable": sys.executable,
        "packages": {name: _version(name) for name in PACKAGES},
        "engines": sorted(name for name, module in ENGINES.items() if util.find_spec(module)),
        "memory": machine_memory(),
        "cpus": os.cpu_count() or 1,
        "address_space": _limit(resource.RLIMIT_AS),
        "time": time.time(),
    }


def look_deeper(_: object = None) -> dict[str, Any]:
    """Return what `look` does, and the digest of an Annoy index that is built here."""
    found = look()
    return {**found, "golden": golden(), "time": time.time()}


def golden() -> str:
    """Return the digest of a small Annoy index that is built here, or how that ended."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", _GOLDEN]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}"
    return done.stdout.strip() or (done.stderr.strip().splitlines() or ["no answer"])[-1]


def machine_memory() -> int:
    """Return the bytes that processes here may have: the machine's, or the least of the limits above them."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *_group_limits()])


def _group_limits() -> list[int]:
    """Return the limits of this process's control groups: of a container, of a job of systemd."""
    found = []
    for root, path, name in _groups():
        parts = path.strip("/").split("/")
        for depth in range(len(parts) + 1):
            try:
                with open(os.path.join(root, *parts[:depth], name), encoding="ascii") as file:
                    text = file.read().strip()
            except OSError:  # above a container's own group there is nothing to read
                continue
            if text.isdigit():
                found.append(int(text))
    return found


def _groups() -> list[tuple[str, str, str]]:
    """Return where the limits of this process's groups are: root, path below it, and file."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            lines = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return []
    found = []
    for number, controllers, path in lines:
        if number == "0":
            found.append(("/sys/fs/cgroup", path, "memory.max"))
        elif "memory" in controllers.split(","):
            found.append(("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"))
    return found


def _limit(which: int) -> int | None:
    soft = resource.getrlimit(which)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _version(name: str) -> str | None:
    """Return the version of a package; of Spark's Python, and of this package's code alone, pip may know nothing."""
    try:
        if name == "lookalike":
            return str(import_module("lookalike.version").VERSION)
        return str(sys.modules[name].__version__) if name == "pyspark" else metadata.version(name)
    except (ImportError, KeyError):
        return None
