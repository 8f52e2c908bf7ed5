"""The lock files name what pyproject.toml asks for, each package once, and every file of it by its hash."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from typing import Any

import pytest

from support.drawn import ROOT

LOCKS = ("run", "dev", "setup", "bench")


def pinned(lock: str) -> list[str]:
    """Names that a lock pins, as often as it does."""
    return re.findall(r"^([a-z0-9-]+)==", text(lock), re.MULTILINE)


def text(lock: str) -> str:
    name = "requirements.lock" if lock == "run" else f"requirements-{lock}.lock"
    return (ROOT / name).read_text(encoding="utf-8")


def named(requirements: list[str]) -> set[str]:
    """Names as locks write them, without bounds, extras and markers."""
    names = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {re.sub(r"[._]", "-", name[0].lower()) for name in names if name}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_what_the_package_needs_is_locked(project: dict[str, Any]) -> None:
    assert named(project["project"]["dependencies"]) <= set(pinned("run"))


@pytest.mark.parametrize(("extra", "lock"), [("dev", "dev"), ("docs", "dev"), ("bench", "bench"), ("setup", "setup")])
def test_what_an_extra_needs_is_locked(project: dict[str, Any], extra: str, lock: str) -> None:
    asked = {**project["project"]["optional-dependencies"], **project["dependency-groups"]}[extra]
    assert named(asked) <= {*pinned("run"), *pinned(lock)}


def test_no_other_lock_repeats_what_the_package_needs() -> None:
    # A package that only Windows needs to run, and the tests need anywhere, is in both, with and without its marker.
    lines = {lock: re.findall(r"^[a-z0-9-]+==.*", text(lock), re.MULTILINE) for lock in LOCKS}
    assert [line for line, times in Counter(lines["run"]).items() if times > 1] == []
    assert [set(lines["run"]) & set(lines[lock]) for lock in LOCKS[1:]] == [set()] * 3


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_has_hashes(lock: str) -> None:
    entries = re.split(r"^(?=[a-z0-9-]+==)", text(lock), flags=re.MULTILINE)[1:]
    assert len(entries) == len(pinned(lock)) > 0
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
