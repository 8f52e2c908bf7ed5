"""What a Python worker imports, seen in a fresh interpreter: no TensorFlow, no Spark, by no detour.

The contract in pyproject.toml reads import statements; this sees what they lead to inside other packages.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

# Modules that run inside a Python worker, and what none of them may load.
WORKER = (
    "embedding.stream",
    "models.litert",
    "images.decode",
    "topk",
    "index.annoy",
    "index.sharding",
    "config",
    "storage.files",
)
HEAVY = ("tensorflow", "keras", "pyspark", "py4j", "h5py")


@pytest.mark.parametrize("module", WORKER)
def test_module_of_a_worker_loads_neither_tensorflow_nor_spark(module: str) -> None:
    script = f"import sys, lookalike.{module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert f"lookalike.{module}" in loaded
    assert [name for name in HEAVY if name in loaded] == []
