"""The files of settings under conf/: all load, and the template is complete and true."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lookalike import config
from support.drawn import ROOT

CONF = ROOT / "conf"
NIGHTLY = CONF / "nightly.yaml"

# What a template has to make up; everything else in it is a default.
EXAMPLES = {"catalogue.path", "catalogue.image_root", "warehouse.path"}


def dotted(sections: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every key, as config.known_keys writes it: sections too, with the value None."""
    for section, keys in sections.items():
        yield section, None
        yield from ((f"{section}.{name}", value) for name, value in keys.items())


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_of_settings_loads(path: Path) -> None:
    assert config.load(path).warehouse.path


def test_the_template_names_every_key_once_and_no_other() -> None:
    keys = [key for key, _ in dotted(yaml.safe_load(NIGHTLY.read_text(encoding="utf-8")))]
    assert sorted(keys) == sorted(config.known_keys())


def test_the_template_gives_the_defaults_but_for_paths() -> None:
    bare = config.Settings.model_validate({"catalogue": {"path": "x"}, "warehouse": {"path": "x"}})
    defaults = dict(dotted(bare.model_dump(mode="json")))
    template = dict(dotted(config.load(NIGHTLY).model_dump(mode="json")))
    assert {key for key in defaults if template[key] != defaults[key]} == EXAMPLES


def test_every_key_of_the_template_is_explained_on_its_line() -> None:
    lines = NIGHTLY.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("  ") and " # " not in line] == []


def test_the_demo_needs_no_network() -> None:
    assert config.load(CONF / "demo.yaml").model.weights == "bundled"
