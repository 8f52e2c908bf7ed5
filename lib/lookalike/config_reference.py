"""Write the reference of all settings from their types and descriptions: as commented YAML, and as a Markdown page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from lookalike.config import Settings, SettingsSection, sections

_TEMPLATE_HEAD = """\
# A template for a real catalogue: every key, with its default. The paths are examples.
# One key can be overridden for one run: --set similar.k=50
# `lookalike config` writes this file.
"""
_SETTINGS_HEAD = """\
# The settings of a run: every key, with its value.
"""
_MARKDOWN_HEAD = """\
# Settings

A run reads one YAML file, `--config FILE`. Only `catalogue.path` and `warehouse.path` have to be set; every other key
has a default. `--set section.key=value` overrides a key for one run. `lookalike config` writes a file with all keys,
and `conf/nightly.yaml` is that file.

A misspelt key or a wrong value is refused before anything starts, in one line that names the key.

<!-- `make docs` writes this page from lib/lookalike/config/. -->
"""


def template() -> Settings:
    """Return the settings of a file to begin with: the defaults, and example paths."""
    return Settings.model_validate({name: _examples(section) for name, section in sections().items()})


def _examples(section: type[SettingsSection]) -> dict[str, Any]:
    return {key: field.examples[0] for key, field in section.model_fields.items() if field.examples}


def as_yaml(settings: Settings | None = None) -> str:
    """Return a YAML file of all keys, each with its description; the values are those of `template` or `settings`."""
    head = _SETTINGS_HEAD if settings else _TEMPLATE_HEAD
    values = (settings or template()).model_dump(mode="json")
    return head + "".join(_yaml_section(name, section, values[name]) for name, section in sections().items())


def _yaml_section(name: str, section: type[SettingsSection], values: dict[str, Any]) -> str:
    keys = (f"  {key}: {scalar(values[key])} # {field.description}\n" for key, field in section.model_fields.items())
    return f"\n# {section.__doc__}\n{name}:\n{''.join(keys)}"


def scalar(value: Any) -> str:
    """Return a value, or a list of them, as YAML on one line."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    style = '"' if isinstance(value, str) and not value.isprintable() else None
    text = yaml.safe_dump([value], default_flow_style=True, default_style=style, width=float("inf"), allow_unicode=True)
    return text.strip()[1:-1]


def as_markdown() -> str:
    """Return the page docs/settings.md: a table of the keys of each section."""
    return _MARKDOWN_HEAD + "".join(_markdown_section(name, section) for name, section in sections().items())


def _markdown_section(name: str, section: type[SettingsSection]) -> str:
    rows = (_markdown_row(f"{name}.{key}", field, schema) for key, field, schema in _fields(section))
    head = f"\n## {name}\n\n{section.__doc__}\n\n| key | values | default | meaning |\n| --- | --- | --- | --- |\n"
    return head + "".join(rows)


def _fields(section: type[SettingsSection]) -> Iterator[tuple[str, FieldInfo, dict[str, Any]]]:
    """Yield each key of a section with its field and its JSON schema."""
    properties = section.model_json_schema()["properties"]
    for key, field in section.model_fields.items():
        yield key, field, properties[key]


def _markdown_row(key: str, field: FieldInfo, schema: dict[str, Any]) -> str:
    default = "" if field.is_required() else f"`{scalar(schema['default'])}`"
    cells = (f"`{key}`", _values(schema), default, field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true`, `false`",
    "array": "list",
    "object": "mapping",
}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _values(schema: dict[str, Any]) -> str:
    """Return what a key may be set to: the values of a choice, or the type with its bounds."""
    options = [one for one in schema.get("anyOf", [schema]) if one["type"] != "null"]
    (one,) = options
    if "enum" in one:
        return ", ".join(f"`{choice}`" for choice in one["enum"])
    bounds = [f"{sign} {one[name]:,}" for name, sign in _BOUNDS.items() if name in one]
    return " ".join([_TYPES[one["type"]], ", ".join(bounds)]).strip()
