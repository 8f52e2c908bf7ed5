"""The `lookalike` command, and each of its commands as a job of spark-submit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.main

from lookalike.cli import (
    browse,
    changes,
    demo,
    doctor,
    export,
    init,
    options,
    output,
    releases,
    run,
    settings,
    show,
    streams,
    utf8,
    why,
)
from lookalike.version import VERSION


class _Commands(typer.Typer):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        utf8.restart_with_utf8()
        streams.make_safe()
        return super().__call__(*args, **kwargs)


# Plain text: help and errors also go to logs.
app = _Commands(name="lookalike", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        output.line(f"lookalike {VERSION}")
        raise typer.Exit


@app.callback()
def lookalike(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn a catalogue of product pictures into a table of similar products."""


app.command("init", short_help="Write a settings file for a catalogue.")(init.init)
app.command("run", short_help="Publish a release of the catalogue.")(run.run)
app.command("show", short_help="Show items and their neighbours.")(show.show)
app.command("why", short_help="Explain why one item is in the list of another.")(why.why)
app.command("browse", short_help="Serve a site to look at releases.")(browse.browse)
app.add_typer(releases.app, name="releases", short_help="List, compare, roll back, clean up.")
app.command("export", short_help="Export a release to PostgreSQL or files.")(export.export)
app.command("changes", short_help="Print what changed since a release.")(changes.changes)
app.command("demo", short_help="Draw a small catalogue and try it.")(demo.demo)
app.command("doctor", short_help="Check machines, Spark and stores.")(doctor.doctor)
app.command("config", short_help="Print all settings, with defaults.")(settings.print_settings)
for _one in (*app.registered_commands, *releases.app.registered_commands):
    _one.cls = options.Command


def job(command: str) -> None:
    """Run one command as a job of spark-submit; the job takes the options of the command."""
    utf8.restart_with_utf8()
    streams.make_safe()
    words = sys.argv[1:]
    commands = typer.main.get_group(app).commands
    commands[command](words, prog_name=Path(sys.argv[0]).name)
