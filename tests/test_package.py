"""The package as a user imports it: few names, documented, and light."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lookalike
from lookalike.serving.client import Release, open_release
from lookalike.serving.shard import Neighbour
from support.drawn import ROOT


def test_public_names_are_these_and_no_others() -> None:
    expected = ["ALL_GROUPS", "Neighbour", "Release", "StoreSettings", "__version__", "errors", "open_release"]
    assert sorted(lookalike.__all__) == expected
    assert set(lookalike.__all__) <= set(dir(lookalike))
    assert (lookalike.open_release, lookalike.Release, lookalike.Neighbour) == (open_release, Release, Neighbour)
    assert issubclass(lookalike.errors.QueryError, lookalike.errors.LookalikeError)
    with pytest.raises(AttributeError, match="no attribute 'open_warehouse'"):
        lookalike.open_warehouse  # noqa: B018


def test_public_names_are_documented() -> None:
    for public in (lookalike, lookalike.open_release, lookalike.Release.similar, lookalike.Release.search_image):
        assert public.__doc__
        assert "release" in public.__doc__
        assert "    " in public.__doc__  # with an example
    methods = [name for name in vars(lookalike.Release) if not name.startswith("_")]
    assert {"similar", "search", "search_image", "release_id", "warehouse"} == set(methods)
    assert all(getattr(lookalike.Release, name).__doc__ for name in methods)


def test_types_come_with_the_package() -> None:
    assert (ROOT / "lib/lookalike/py.typed").exists()
    assert '"py.typed"' in (ROOT / "pyproject.toml").read_text()


def test_import_of_the_package_brings_nothing_along_and_the_reader_no_spark() -> None:
    script = """
import sys, lookalike
lookalike.errors
print(*sys.modules, sep="\\n", end="\\n--\\n")
lookalike.open_release
print(*sys.modules, sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    package, _, everything = done.stdout.partition("\n--\n")
    assert not {"numpy", "pyarrow", "pydantic", "annoy", "lookalike.serving.client"} & set(package.split())
    assert "lookalike.serving.client" in everything.split()
    heavy = {"pyspark", "py4j", "tensorflow", "keras", "h5py", "PIL", "ai_edge_litert", "openvino"}
    assert not heavy & set(everything.split())
