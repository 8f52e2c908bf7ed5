"""`lookalike changes`: what to upsert and to delete since a release."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from lookalike import config_file
from lookalike.cli import exits, options, output
from lookalike.errors import ConfigError, WarehouseError
from lookalike.progress import say, say_detail

if TYPE_CHECKING:
    from lookalike.feeds.changes import Changes
    from lookalike.warehouse.local import Warehouse
    from lookalike.warehouse.release import ReleaseFolder


class ChangesFormat(StrEnum):
    """Of the changes."""

    jsonl = "jsonl"
    parquet = "parquet"
    csv = "csv"


def changes(
    config_path: options.ConfigPath,
    since: Annotated[
        str, typer.Option("--since", metavar="RELEASE", help="The release that the other store holds now.")
    ],
    file_format: Annotated[ChangesFormat, typer.Option("--format", help="Of the changes.")] = ChangesFormat.jsonl,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write them to this file, not to stdout.")
    ] = None,
    vectors: Annotated[bool, typer.Option("--vectors/--no-vectors", help="With the vectors of items.")] = True,
    overrides: options.Overrides = None,
    as_json: options.AsJson = False,
) -> None:
    """Print what to upsert and to delete, so that a copy of an earlier or later release becomes the current one.

    Counts are on stderr; with --out and --json on stdout. Reads the releases without Spark.
    """
    with exits.exit_code(as_json=as_json):
        if out is None and (as_json or file_format is ChangesFormat.parquet):
            raise ConfigError("--out: give a file; Parquet, and changes beside --json, do not go to stdout")
        if out is not None and out.exists() and not out.is_file():
            raise ConfigError(f"--out {out}: it is no file; give the name of one")
        from lookalike.feeds.changes import Changes
        from lookalike.warehouse import opening

        warehouse = opening.open_warehouse(config_file.load(config_path, overrides or ()))
        now, before = warehouse.need_current(), _since(warehouse, since)
        if before.record().model.model_id != now.record().model.model_id:
            say_detail(
                "the two releases have other models: all items are upserted; never compare vectors of two models"
            )
        found = Changes(warehouse.fetch(before), warehouse.fetch(now), vectors)
        _write(found, file_format, out)
        text = ", ".join(f"{rows:,} {name.replace('_', ' ')}" for name, rows in found.counts.items())
        say(f"changes from {before.release_id} to {now.release_id}: {text}")
        if as_json:
            output.print_json({"since": before.release_id, "release_id": now.release_id, "changes": found.counts})


def _since(warehouse: Warehouse, release_id: str) -> ReleaseFolder:
    """Return the release to compare with; raises WarehouseError where it is gone."""
    if not any(one.release_id.startswith(release_id) for one in warehouse.releases()):
        raise WarehouseError(
            f"--since {release_id}: {warehouse.name} has no such release, or no longer; bring the other store "
            "up to date with all of the current one: `lookalike export`"
        )
    return warehouse.find(release_id)


def _write(found: Changes, file_format: ChangesFormat, out: Path | None) -> None:
    from lookalike.feeds import change_files

    batches, csv = found.batches(), file_format is ChangesFormat.csv
    if out is None:
        change_files.write_lines(batches, found.schema, lambda text: output.put(text.decode()), csv=csv)
        return
    with _replaced(Path(os.path.realpath(out))) as file:
        if file_format is ChangesFormat.parquet:
            change_files.write_parquet(batches, found.schema, file)
        else:
            change_files.write_lines(batches, found.schema, file.write, csv=csv)


@contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    """Give a file that takes the name `path` at the end; nothing of one that fails stays."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        made = part.open("wb")
    except OSError as error:
        raise ConfigError(f"--out {path}: cannot be written ({error.strerror}); give another file") from None
    try:
        with made as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
