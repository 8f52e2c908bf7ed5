"""Read the settings from a YAML file: check them, and explain in one line what is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lookalike.bounded_yaml import MOST_CHARACTERS, NOT_YAML, Loader, TextLoader, problem
from lookalike.config import Settings, StoreSettings, known_keys, value_types
from lookalike.errors import ConfigError


def load(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Return the settings of a YAML file, with `key=value` overrides; raises ConfigError.

    A text is taken as it is typed, since a path may hold what YAML reads as a comment or a list; other values are YAML.
    """
    return checked(_read_yaml(path), str(path), overrides)


def checked(raw: dict[str, Any], origin: str, overrides: Sequence[str] = ()) -> Settings:
    """Return the settings of sections from `origin`, with overrides; raises ConfigError."""
    try:
        return Settings.model_validate(_overridden(raw, overrides))
    except ValidationError as error:
        first = _first(error)
        raise ConfigError(f"{_origin(first, origin, overrides)}: {_explain(first)}") from None


def load_stores(path: Path, overrides: Sequence[str] = ()) -> StoreSettings:
    """Return the section `stores` alone, where the others may be wrong; its defaults where it cannot be read."""
    for readable in (overrides, ()):
        with suppress(ConfigError, ValidationError):
            return StoreSettings.model_validate(_overridden(_read_yaml(path), readable).get("stores", {}))
    return StoreSettings()


def _overridden(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {override}: write it as --set section.key=value")
        _assign(raw, key.strip(), _value(override, key.strip(), text))
    return raw


def _value(override: str, key: str, text: str) -> object:
    """Return the value of an override by the type of its key."""
    types = value_types(key)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ConfigError(f"--set {override}: the value is not UTF-8 text")
    if "null" in types and text.strip() in ("", "null"):
        return None
    if "string" in types:
        return text
    try:
        # Of a list the base loader reads texts: `yes` and 007 are names of columns.
        value = yaml.load(text, TextLoader if "array" in types else Loader)  # noqa: S506 - they are safe
    except NOT_YAML:
        if "array" not in types:
            raise ConfigError(f"--set {override}: the value is not YAML; quote it") from None
        return text
    return text if "array" in types and not isinstance(value, list) else value


def _origin(error: ErrorDetails, path: str, overrides: Sequence[str]) -> str:
    """Return where a wrong value comes from: the last override of its key, or the file."""
    key = _key(error)
    if error["type"] == "missing":
        return path
    named = [one for one in overrides if _names(one.partition("=")[0].strip(), key, error["type"])]
    return f"--set {named[-1]}" if named else path


def _names(override: str, key: str, error: str) -> bool:
    """Return whether an override set a wrong key, all of its section, or a part of what should be one value."""
    inner = error != "value_error" and f"{override}.".startswith(f"{key}.")
    return inner or f"{key}.".startswith(f"{override}.")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MOST_CHARACTERS + 1)
        if len(text) > MOST_CHARACTERS:
            raise ConfigError(f"{path}: more than {MOST_CHARACTERS:,} characters; give --config a file of settings")
        raw = yaml.load(text, Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give --config a YAML file") from None
    except NOT_YAML as error:
        raise ConfigError(f"{path}: not YAML: {problem(error)}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected sections such as 'catalogue:', found {_kind(raw)}")
    return {key: _set_keys(section) for key, section in raw.items()}


def _set_keys(section: object) -> object:
    """Return the keys with a value: one left blank has its default, as all keys of a section of comments."""
    if section is None:
        return {}
    return {key: value for key, value in section.items() if value is not None} if isinstance(section, dict) else section


def _assign(raw: dict[str, Any], key: str, value: object) -> None:
    *sections, name = key.split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"--set {key}: '{section}' is a value, not a section")
    raw[name] = value


def _first(error: ValidationError) -> ErrorDetails:
    """Return the first error; a misspelt key is often also a missing one: the spelling is the error to correct."""
    errors = error.errors()
    return next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])


def _key(error: ErrorDetails) -> str:
    return " ".join(".".join(str(part) for part in error["loc"]).split())


# Keys of versions before, and what to do about them.
_GONE = {"warehouse.mirror": "since 0.5.0 the machines share no folder; remove it, or set warehouse.cache"}


def _explain(error: ErrorDetails) -> str:
    """Return one line about an error, with the nearest known key for an unknown one."""
    key = _key(error)
    if key in _GONE:
        return f"unknown key '{key}': {_GONE[key]}"
    if error["type"] == "extra_forbidden" and len(error["loc"]) == 1 and "." in key and key in known_keys():
        section, _, name = key.partition(".")
        return f"unknown key '{key}'; in a file, write '{section}:' and below it '  {name}:'"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, list(known_keys()), n=1, cutoff=0.4)
        hint = f"; did you mean '{near[0]}'?" if near else f"; known sections: {_sections()}"
        return f"unknown key '{key}'{hint}"
    if error["type"] == "missing":
        return f"'{key}' is missing; set it in the file or with --set {key}=…"
    if error["type"] == "value_error":  # raised by a validator, which names the keys itself
        return f"{key}: {error['ctx']['error']}"
    return f"{key}: {_expected(error)} (got {_shown(error['input'])})"


def _expected(error: ErrorDetails) -> str:
    """Return what a value should be, in words of YAML."""
    if error["type"] in ("model_type", "dict_type"):
        return f"expected keys, such as '{error['loc'][-1]}: {{key: value}}'"
    message = error["msg"].replace("valid tuple", "list")
    return f"{message[0].lower()}{message[1:]}"


def _shown(value: object) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):  # a number of more than 4,300 digits, lists 900 deep
        return "a value that is too long to show"


def _kind(raw: object) -> str:
    """Return what a document is, in words of YAML."""
    return {type(None): "nothing", list: "a list"}.get(type(raw), "a single value")


def _sections() -> str:
    return ", ".join(Settings.model_fields)
