"""The wheel, installed alone: in an empty venv, used from an empty folder, on a machine without Java or settings."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyspark
import pytest

from lookalike.storage.files import link_or_copy
from lookalike.version import VERSION
from support.drawn import ROOT

UV = Path(sys.executable).with_name("uv")

# Enough for a neighbour of the same kind, and for int8's comparison with float32.
ITEMS = 36


@dataclass(frozen=True)
class Machine:
    """A venv that has the wheel and what it depends on, an empty folder, an empty home, and a PATH without Java."""

    venv: Path
    folder: Path
    home: Path
    path: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the venv, in an environment of two variables."""
        command, *rest = words
        return subprocess.run(
            [self.venv / "bin" / command, *rest],
            env={"PATH": str(self.path), "HOME": str(self.home)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def lookalike(self, *words: str) -> str:
        """What the command prints, when it ends well."""
        done = self.run("lookalike", *words)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout


def uv(*words: str | Path, **environment: str) -> None:
    mirror = {"UV_DEFAULT_INDEX": os.environ["PIP_INDEX_URL"]} if "PIP_INDEX_URL" in os.environ else {}  # pip's own
    done = subprocess.run(
        [UV, *words], env={**mirror, **os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def build(folder: Path) -> Path:
    """The wheel of the checkout's sources, through a source distribution, as for an index."""
    source = folder / "source"
    left = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "lib", source / "lib", ignore=left)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ("--quiet", "--no-build-isolation", "--python", sys.executable)
    uv("build", *options, "--out-dir", folder, source, TMPDIR=str(folder))  # where its lock stays
    (wheel,) = folder.glob("*.whl")
    return wheel


def copy_spark(site: Path) -> None:
    """Put PySpark as it is installed here into a site-packages: to build it takes 450 MB and half a minute."""
    here = Path(pyspark.__path__[0])
    for folder in (here, next(here.parent.glob("pyspark-*.dist-info"))):
        shutil.copytree(folder, site / folder.name, ignore=shutil.ignore_patterns("conf"), copy_function=link_or_copy)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """One for all tests: the packages come from uv's cache, or from the index."""
    root = tmp_path_factory.mktemp("wheel")
    wheel = build(root)
    venv, folder, home, path = (root / name for name in ("venv", "empty", "home", "path"))
    uv("venv", "--quiet", "--python", sys.executable, venv)
    copy_spark(next(venv.glob("lib/python3*/site-packages")))
    locked = ("--constraint", ROOT / "requirements.lock")
    uv("pip", "install", "--quiet", "--python", venv / "bin" / "python", *locked, wheel)
    for one in (folder, home, path):
        one.mkdir()
    for tool in (file for folder in ("/bin", "/usr/bin") for file in Path(folder).iterdir()):
        if tool.name != "java" and not (path / tool.name).exists():
            (path / tool.name).symlink_to(tool)
    return Machine(venv, folder, home, path)


@pytest.fixture(scope="module")
def demo(machine: Machine) -> str:
    """What `lookalike demo` prints."""
    return machine.lookalike("demo", "--items", str(ITEMS))


def test_version_is_that_of_the_sources(machine: Machine) -> None:
    assert machine.lookalike("--version") == f"lookalike {VERSION}\n"


def test_metadata_says_what_it_is_and_for_which_pythons(machine: Machine) -> None:
    script = (
        "import json; from importlib.metadata import metadata; of = metadata('lookalike');"
        "print(json.dumps([of['Version'], of['Description-Content-Type'], of.get_payload(), of.get_all('Classifier')]))"
    )
    version, kind, description, classifiers = json.loads(machine.run("python", "-c", script).stdout)
    assert (version, kind) == (VERSION, "text/markdown")
    assert description.strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()
    assert "Typing :: Typed" in classifiers


def test_demo_publishes_and_ends_with_the_address_of_its_page(machine: Machine, demo: str) -> None:
    assert shutil.which("java", path=str(machine.path)) is None
    assert f"{ITEMS} of {ITEMS} pictures embedded" in demo
    address = urlsplit(demo.splitlines()[-1])
    assert address.scheme == "file"
    page = Path(unquote(address.path))
    assert page == machine.folder / "lookalike-demo" / "warehouse" / "current" / "report.html"
    assert "<html" in page.read_text(encoding="utf-8")


def test_demo_leaves_nothing_but_its_folder(machine: Machine, demo: str) -> None:
    assert [path.name for path in machine.folder.iterdir()] == ["lookalike-demo"]
    there = {path.name for path in (machine.folder / "lookalike-demo").iterdir()}
    assert there == {"catalogue.parquet", "demo.yaml", "images", "warehouse"}


def test_item_of_the_demo_has_neighbours_of_its_kind(machine: Machine, demo: str) -> None:
    shown = json.loads(machine.lookalike("show", "item-0001", "--config", "lookalike-demo/demo.yaml", "--json"))
    kinds = {one["labels"]["kind"] for one in shown["neighbours"]}
    assert kinds == {shown["item"]["labels"]["kind"]}
