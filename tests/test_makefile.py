"""The Makefile's own promises, in a copy of it: what a clean-up leaves, and how a set-up that cannot be made ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.drawn import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the Makefile and what its set-up reads."""
    (tmp_path / "conf").mkdir()
    locks = ("requirements.lock", "requirements-setup.lock")
    for name in ("Makefile", "conf/venv.sh", "conf/install.sh", "conf/pack.sh", *locks):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def make(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *words], cwd=folder, env=os.environ | environment, capture_output=True, text=True)


def test_clean_keeps_what_was_published_from_photos(checkout: Path) -> None:
    kept, removed = checkout / "build/photos/warehouse/CURRENT", checkout / "build/demo/warehouse/CURRENT"
    for path in (kept, removed, checkout / ".venv/bin/python"):
        path.parent.mkdir(parents=True)
        path.write_text("")
    assert make(checkout, "clean").returncode == 0
    assert kept.exists()
    assert not removed.exists()
    assert not (checkout / ".venv").exists()


def test_set_up_without_a_python_says_which_it_needs(checkout: Path) -> None:
    done = make(checkout, "demo", "PYTHON=no-such-python")
    assert done.returncode == 2
    assert "set-up needs Python 3.11, 3.12 or 3.13 with venv and headers" in done.stderr
    assert "none of these is: no-such-python" in done.stderr


def test_set_up_without_a_network_says_so_and_starts_again(checkout: Path) -> None:
    half = checkout / ".venv/half"
    half.mkdir(parents=True)  # of a set-up that was interrupted
    done = make(checkout, "demo", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0", PIP_NO_INDEX="1")
    assert done.returncode == 2
    assert "set-up needs PyPI, or a mirror of it that pip knows (PIP_INDEX_URL)" in done.stderr
    assert "1/4 uv, which installs the rest" in done.stdout
    assert not half.exists()
    assert not (checkout / ".venv/.packages").exists()


def test_lack_of_a_browser_is_said_before_the_tests() -> None:
    environment = {"PATH": "/nowhere", "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run([sys.executable, "-m", "support.browser"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    assert "apt-get install chromium" in done.stderr
    first, second = [line for line in make(ROOT, "--dry-run", "test").stdout.splitlines() if "/python -m" in line][-2:]
    assert "-m support.browser" in first
    assert "-m pytest" in second


def test_packing_prefers_the_python_of_the_system_to_that_of_a_home(checkout: Path) -> None:
    """Which the machines of a cluster may have."""
    home = checkout / "home/bin/python3"
    home.parent.mkdir(parents=True)
    home.write_text("#!/bin/sh\necho at home")
    home.chmod(0o755)
    path = f"{home.parent}:{os.environ['PATH']}"
    assert "at home" not in make(checkout, "-n", "pack", PATH=path).stdout
    assert "at home" in make(checkout, "-n", "demo", PATH=path).stdout


def test_packing_without_a_network_says_so_and_leaves_no_archive(checkout: Path) -> None:
    old = checkout / "build/pack/executor.tar.gz"
    old.parent.mkdir(parents=True)
    old.write_text("of another version")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_NO_INDEX": "1"}
    done = make(checkout, "pack", f"PYTHON={sys._base_executable}", **nowhere)
    assert done.returncode == 2
    assert "set-up needs PyPI, or a mirror of it that pip knows (PIP_INDEX_URL)" in done.stderr
    assert not old.exists()


def test_settings_of_ones_own_are_not_committed() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    names = ["conf/mine.yaml", "conf/demo.yaml", "conf/nightly.yaml", "conf/photos.yaml", "conf/cluster/site.yaml"]
    done = subprocess.run(["git", "check-ignore", "--no-index", *names], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["conf/mine.yaml"]
