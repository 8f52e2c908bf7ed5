"""The package as a user imports it: few names, documented, and light."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys

import pytest

import lookalike
from lookalike.serving.client import Release, open_release
from lookalike.serving.shard import Neighbour
from support import api_page
from support.drawn import ROOT
from support.pages import spans

NAMES = {
    "ALL_GROUPS",
    "Changes",
    "Items",
    "Neighbour",
    "NeighbourLists",
    "Neighbours",
    "Release",
    "ReleaseRecord",
    "StoreSettings",
    "Why",
    "__version__",
    "errors",
    "open_release",
}


def test_public_names_are_these_and_no_others() -> None:
    assert set(lookalike.__all__) == NAMES
    assert set(lookalike.__all__) <= set(dir(lookalike))
    assert (lookalike.open_release, lookalike.Release, lookalike.Neighbour) == (open_release, Release, Neighbour)
    assert all(getattr(lookalike, name).__name__.endswith(name) for name in NAMES - {"ALL_GROUPS", "__version__"})
    assert issubclass(lookalike.errors.QueryError, lookalike.errors.LookalikeError)
    with pytest.raises(AttributeError, match="no attribute 'open_warehouse'"):
        lookalike.open_warehouse  # noqa: B018


def test_public_names_are_documented() -> None:
    for public in (lookalike, lookalike.open_release, lookalike.Release.similar, lookalike.Release.search_image):
        assert public.__doc__
        assert "release" in public.__doc__
        assert "    " in public.__doc__  # with an example
    methods = [name for name in vars(lookalike.Release) if not name.startswith("_")]
    by_item = {"similar", "similar_many", "items", "embedding", "embeddings", "changes", "why"}
    by_picture = {"search", "search_image", "search_many", "embed_image"}
    assert {*by_item, *by_picture, "release_id", "warehouse", "record"} == set(methods)
    for kind in api_page.CLASSES:
        members = {name: one for name, one in vars(getattr(lookalike, kind)).items() if not name.startswith("_")}
        assert all(one.__doc__ for one in members.values() if callable(one) or isinstance(one, property)), kind


def test_page_of_the_reference_is_made_of_the_docstrings() -> None:
    page = api_page.PAGE.read_text(encoding="utf-8")
    assert page == api_page.as_markdown(), "run make docs"
    assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == NAMES - {"__version__"}
    shown = {found[1] for span in spans(ROOT / "docs/python.md") if (found := re.match(r"lookalike\.(\w+)", span))}
    assert shown == NAMES - {"__version__"}


def test_types_come_with_the_package() -> None:
    assert (ROOT / "lib/lookalike/py.typed").exists()
    assert '"py.typed"' in (ROOT / "pyproject.toml").read_text()


def test_type_checkers_of_users_see_the_defaults_of_public_settings() -> None:
    """Without pydantic's plugin they know `default=` alone, and would ask for every argument."""
    (body,) = ast.parse(inspect.getsource(lookalike.StoreSettings)).body
    assert isinstance(body, ast.ClassDef)
    fields = [one.value for one in body.body if isinstance(one, ast.AnnAssign)]
    assert len(fields) == len(lookalike.StoreSettings.model_fields)
    for field in fields:
        assert isinstance(field, ast.Call)
        assert "default" in [keyword.arg for keyword in field.keywords], ast.unparse(field)


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
