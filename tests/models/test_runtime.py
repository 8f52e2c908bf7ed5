"""The engine is the one that the settings name, and no other is imported."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lookalike import config
from lookalike.errors import ModelError
from lookalike.models import runtime
from lookalike.models.compile import find_or_compile


def test_engine_that_is_not_installed_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install openvino, or set"):
        find_or_compile(
            config.ModelSettings(weights="bundled", engine="openvino"), tmp_path, lambda wanted: np.empty(0)
        )


@pytest.mark.parametrize(("name", "package"), [("openvino", "openvino"), ("litert", "ai_edge_litert")])
@pytest.mark.parametrize("reason", ["is not installed", "cannot be imported"])
def test_executor_without_the_engine_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, reason: str
) -> None:
    monkeypatch.delitem(sys.modules, f"lookalike.models.{name}", raising=False)
    for module in [*sys.modules]:
        if module.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)  # to import it raises ImportError
    if reason == "is not installed":
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(ModelError, match=f"model.engine: {name} {reason}") as raised:
        runtime.load(name, b"")
    assert socket.gethostname() in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("module", "engines"), [("runtime", ""), ("litert", "ai_edge_litert"), ("openvino", "openvino")]
)
def test_engine_is_imported_alone_and_only_when_it_is_wanted(module: str, engines: str) -> None:
    script = (
        f"import sys, lookalike.models.{module};"
        "print(*[name for name in ('ai_edge_litert', 'openvino') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == engines
