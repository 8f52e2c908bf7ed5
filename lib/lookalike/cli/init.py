"""`lookalike init`: write a settings file for a catalogue, after a look at its columns and some of its pictures."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lookalike import config, config_file, config_reference
from lookalike.cli import exits, options, output
from lookalike.errors import CatalogueError, ConfigError
from lookalike.storage.uri import is_uri

if TYPE_CHECKING:
    from lookalike.catalogue.opening import Opened
    from lookalike.catalogue.pictures_root import Tried
    from lookalike.catalogue.sample import Sample

# Pictures that are tried; and paths that a root is chosen by.
PICTURES, PATHS = 10, 50

# Columns that are kept as labels unless --set says which.
LABELS = 5

_HEAD = "# Written by `lookalike init`. Every other key has its default: `lookalike config` prints them all.\n"


def init(
    catalogue: Annotated[
        str | None,
        typer.Argument(metavar="CATALOGUE", help="File, folder or URI of the catalogue; asked for on a terminal."),
    ] = None,
    config_path: Annotated[Path, typer.Option("--config", metavar="FILE", help="The file to write.")] = Path(
        "lookalike.yaml"
    ),
    warehouse: Annotated[str, typer.Option(metavar="PLACE", help="Where the releases will live.")] = "warehouse",
    overrides: options.Overrides = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: take what is given and what is found.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Write a settings file: find the columns of a catalogue, where its pictures are, and try ten of them.

    Asks on a terminal; elsewhere it takes what it finds, and what --set says. Starts no Spark.
    """
    with exits.exit_code(as_json=as_json):
        ask = Asking(enabled=Asking.is_terminal() and not (yes or as_json))
        if config_path.exists() and not (force or ask.whether(f"{config_path} is there already; replace it?")):
            raise ConfigError(f"{config_path} is there already; give another --config, or --force to replace it")
        path = catalogue or ask.text("Catalogue (a file, a folder or a URI)")
        if not path:
            raise ConfigError("CATALOGUE is missing; name the file, the folder or the URI of the catalogue")
        raw = {"catalogue": {"path": _absolute(path)}, "warehouse": {"path": _absolute(warehouse)}}
        with tempfile.TemporaryDirectory(prefix="lookalike-init-") as folder:
            found = _Finding(raw, tuple(overrides or ()), ask).find(Path(folder))
        _write(config_path, found.settings)
        output.print_json(found.as_json(config_path)) if as_json else found.print(config_path)


def _absolute(path: str) -> str:
    """Return a path that holds from any folder; a URI, and the name of a table, as they are."""
    is_name = "." in path and not os.path.lexists(path) and "/" not in path
    return path if is_uri(path) or is_name else os.path.abspath(path)


@dataclass(frozen=True)
class Asking:
    """Questions on a terminal; where there is none, the answer is the default."""

    enabled: bool

    @staticmethod
    def is_terminal() -> bool:
        """Return whether there is anyone to ask."""
        return sys.stdin.isatty()

    def whether(self, question: str) -> bool:
        """Return the answer to a question of yes or no."""
        return self.enabled and typer.confirm(question, err=True)

    def text(self, question: str, default: str = "") -> str:
        """Return a text."""
        return (
            str(typer.prompt(question, default=default, show_default=bool(default), err=True))
            if self.enabled
            else default
        )

    def choose(self, question: str, names: Sequence[str], default: str) -> str:
        """Return one of some names."""
        while self.enabled:
            found = self.text(f"{question} [{', '.join(names)}]", default)
            if found in names:
                return found
            typer.echo(f"there is no '{found}'", err=True)
        return default


@dataclass(frozen=True)
class Found:
    """The settings for a catalogue, and what they were found by."""

    settings: config.Settings
    sample: Sample
    pictures: Tried
    groups: list[str]

    def print(self, path: Path) -> None:
        """Print what was found; the last line is the command to run next."""
        source, sample = self.settings.catalogue, self.sample
        seen = f"{len(sample.table):,} rows looked at" + (f" of {sample.rows:,}" if sample.rows is not None else "")
        root = f", below {source.image_root}" if source.image_root else ""
        rows = [
            ("format", f"{sample.format}, {len(sample.table.column_names):,} columns, {seen}"),
            ("ids", f"{source.item_id_column}, unique in these rows"),
            ("pictures", f"{source.image_path_column}{root}"),
            ("labels", ", ".join(f"{name} ({sample.values(name):,} values)" for name in source.keep_columns) or "-"),
        ]
        output.section(f"Catalogue {source.path}", output.aligned(rows))
        tried = self.pictures
        failed = [f"{error.reason}: {name} ({error.detail})" for name, error in tried.failed.items()]
        output.section(f"Pictures: {tried.read} of {tried.read + len(tried.failed)} tried can be read", failed)
        if (damaged := self.sample.damaged).damaged:
            lines = [*damaged.examples, f"To correct them, {damaged.advice}"]
            output.section("Lines that cannot be read, and would end the run", lines)
        if self.groups and self.settings.similar.group_by is None:
            output.line(f"Neighbours of one {self.groups[0]} only: set similar.group_by to {self.groups[0]}.")
        output.line(f"The settings are in {path}. Next:")
        output.line(_next(path))

    def as_json(self, path: Path) -> dict[str, Any]:
        """Return what `init --json` prints."""
        sample, tried = self.sample, self.pictures
        return {
            "config": str(path),
            "format": sample.format,
            "rows": sample.rows,
            "columns": sample.table.column_names,
            "settings": self.settings.model_dump(mode="json", exclude_defaults=True),
            "groups": self.groups,
            "pictures": {"tried": tried.read + len(tried.failed), "read": tried.read, "failed": tried.reasons},
            "damaged_lines": sample.damaged.damaged,
            "next": _next(path),
        }


def _next(path: Path) -> str:
    return shlex.join(["lookalike", "run", "--config", str(path)])


@dataclass(frozen=True)
class _Finding:
    """What the settings are made of: those that are given, the overrides, and the answers."""

    raw: dict[str, dict[str, Any]]
    overrides: tuple[str, ...]
    ask: Asking

    def find(self, folder: Path) -> Found:
        """Return the settings; raises ConfigError and CatalogueError. Copies of a store are in the folder."""
        from lookalike.catalogue import pictures_root, sample

        opened = _open(self._settings(), folder)
        rows = sample.read_sample(opened)
        if not len(rows.table):
            raise CatalogueError(f"catalogue.path: {self.raw['catalogue']['path']} has no rows; nothing to do")
        names = rows.table.column_names
        source = self.raw["catalogue"]
        self._column("image_path_column", "pictures", rows.pictures(), names)
        pictures = self._settings().catalogue.image_path_column
        ids = [name for name in rows.ids() if name != pictures]
        self._column("item_id_column", "ids, unique and never empty", ids, names)
        chosen = self._settings().catalogue
        if chosen.image_path_column in names and not self._is_given("catalogue.image_root"):
            root = pictures_root.find_root(rows.some(chosen.image_path_column, PATHS), chosen.path)
            source["image_root"] = self.ask.text("Pictures lie below", root) if root else root
        labels = [one for one in rows.labels() if one not in (chosen.item_id_column, chosen.image_path_column)]
        self._labels(labels)
        settings = self._settings()
        opened.check(settings)
        tried = pictures_root.try_pictures(rows.some(settings.catalogue.image_path_column, PICTURES), settings)
        return Found(settings, rows, tried, labels)

    def _column(self, key: str, what: str, found: list[str], names: list[str]) -> None:
        """Set the key of a column, to what is given, chosen or found; raises ConfigError."""
        if self._is_given(f"catalogue.{key}"):
            return
        if not found and not self.ask.enabled:
            raise CatalogueError(
                f"catalogue.path: no column looks like {what}; name it by --set catalogue.{key}=NAME; there are: "
                f"{', '.join(names)}"
            )
        default = found[0] if found else names[0]
        self.raw["catalogue"][key] = self.ask.choose(f"Column of {what.partition(',')[0]}", names, default)

    def _labels(self, labels: list[str]) -> None:
        if not self._is_given("catalogue.keep_columns"):
            self.raw["catalogue"]["keep_columns"] = labels[:LABELS]
        if labels and not self._is_given("similar.group_by"):
            group = self.ask.choose("Neighbours must share their", [*labels, "nothing"], "nothing")
            self.raw["similar"] = {"group_by": None if group == "nothing" else group}

    def _is_given(self, key: str) -> bool:
        return any(one.partition("=")[0].strip() == key for one in self.overrides)

    def _settings(self) -> config.Settings:
        raw = {name: dict(section) for name, section in self.raw.items()}
        return config_file.checked(raw, "init", self.overrides)


def _open(settings: config.Settings, folder: Path) -> Opened:
    """Open the catalogue; raises CatalogueError."""
    from lookalike.catalogue import objects, opening
    from lookalike.catalogue.files import local_path

    path = settings.catalogue.path
    if (stored := objects.find_objects(settings, folder / "catalogue", folder / "catalogue")) is not None:
        return stored.opened
    local = local_path(path)
    found = opening.open_files(local, settings.catalogue.encoding) if local else None
    if found is None:
        raise CatalogueError(
            f"catalogue.path: there is no file or folder '{path}' on this machine, nor in an object store; of a table "
            "of Spark's catalog, write the settings by hand: `lookalike config` prints a file to begin with"
        )
    return found


def _write(path: Path, settings: config.Settings) -> None:
    """Write the keys that are not as by default; raises ConfigError."""
    chosen = settings.model_dump(mode="json", exclude_defaults=True)
    lines = [_HEAD]
    for section, keys in chosen.items():
        lines += [f"{section}:\n", *(f"  {key}: {config_reference.scalar(value)}\n" for key, value in keys.items())]
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--config {path}: cannot be written ({error.strerror}); give another file") from None
