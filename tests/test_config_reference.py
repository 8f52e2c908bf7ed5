"""The reference of the settings: conf/nightly.yaml and docs/settings.md are complete, true, and never stale."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lookalike import config, config_file, config_reference
from support.drawn import ROOT
from support.settings_file import MINIMAL, load

CONF = ROOT / "conf"
NIGHTLY = CONF / "nightly.yaml"
PAGE = ROOT / "docs" / "settings.md"

# What a template has to make up; everything else in it is a default.
EXAMPLES = {"catalogue.path", "catalogue.image_root", "warehouse.path"}


def dotted(sections: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every key, as config.known_keys writes it: sections too, with the value None."""
    for section, keys in sections.items():
        yield section, None
        yield from ((f"{section}.{name}", value) for name, value in keys.items())


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_of_settings_loads(path: Path) -> None:
    assert config_file.load(path).warehouse.path


def test_the_demo_needs_no_network() -> None:
    assert config_file.load(CONF / "demo.yaml").model.weights == "bundled"


def test_the_template_is_what_the_command_writes() -> None:
    assert NIGHTLY.read_text(encoding="utf-8") == config_reference.as_yaml(), (
        "conf/nightly.yaml is stale: lookalike config > conf/nightly.yaml"
    )


def test_the_page_is_what_the_types_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == config_reference.as_markdown(), "docs/settings.md is stale: make docs"


def test_the_template_names_every_key_once_and_no_other() -> None:
    keys = [key for key, _ in dotted(yaml.safe_load(NIGHTLY.read_text(encoding="utf-8")))]
    assert sorted(keys) == sorted(config.known_keys())


def test_the_template_gives_the_defaults_but_for_paths() -> None:
    bare = config.Settings.model_validate({"catalogue": {"path": "x"}, "warehouse": {"path": "x"}})
    defaults = dict(dotted(bare.model_dump(mode="json")))
    template = dict(dotted(config_file.load(NIGHTLY).model_dump(mode="json")))
    assert {key for key in defaults if template[key] != defaults[key]} == EXAMPLES


def test_every_key_of_the_template_is_explained_on_its_line() -> None:
    lines = NIGHTLY.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("  ") and " # " not in line] == []
    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize("key", [key for key in config.known_keys() if "." in key])
def test_every_key_has_a_row_in_the_page_with_one_sentence(key: str) -> None:
    (row,) = [line for line in config_reference.as_markdown().splitlines() if line.startswith(f"| `{key}` |")]
    assert row.endswith(". |")


@pytest.mark.parametrize(
    ("key", "row"),
    [
        ("catalogue.path", "| text |  | Parquet"),
        ("catalogue.keep_columns", "| list | `[]` | "),
        ("catalogue.change_detection", "| `stat`, `column`, `content` | `stat` | "),
        ("model.input_size", "| whole number ≥ 32, ≤ 1,024 | `null` | "),
        ("images.background", "| text | `'#ffffff'` | "),
        ("images.accept_truncated", "| `true`, `false` | `false` | "),
        ("similar.duplicate_cosine", "| number > 0, ≤ 1 | `null` | "),
        ("gates.max_hub", "| number ≥ 1 | `50` | "),
    ],
)
def test_a_row_of_the_page_says_the_values_and_the_default(key: str, row: str) -> None:
    assert f"| `{key}` {row}" in config_reference.as_markdown()


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("similar.k=7", "  k: 7 # "),
        ("similar.min_score=0.25", "  min_score: 0.25 # "),
        ("similar.min_score=1", "  min_score: 1 # "),
        ("catalogue.keep_columns=colour,kind of thing", "  keep_columns: [colour, kind of thing] # "),
        ("similar.eligible=price > 3 AND name <> 'a # b'", "  eligible: 'price > 3 AND name <> ''a # b''' # "),
        ("similar.group_by='null'", "  group_by: '''null''' # "),
        ("similar.eligible=a\n# b", '  eligible: "a\\n# b" # '),
        ("catalogue.image_root=/größe", "  image_root: /größe # "),
    ],
)
def test_settings_written_as_yaml_are_read_back_as_they_were(tmp_path: Path, override: str, line: str) -> None:
    settings = load(tmp_path, MINIMAL, override)
    text = config_reference.as_yaml(settings)
    assert line in text
    assert "template" not in text  # the head is of these settings
    assert load(tmp_path, text) == settings
