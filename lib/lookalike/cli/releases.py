"""`lookalike releases`: list, show and compare the releases of a warehouse, roll back to one, remove old ones.

Only diff starts Spark and, with publish.catalog, rollback and publish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike import config, config_file
from lookalike.cli import exits, options, output, release_figures, release_text
from lookalike.errors import ConfigError
from lookalike.warehouse import opening
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder

if TYPE_CHECKING:
    from lookalike.sinks.base import Sink

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

_RELEASE_HELP = "Its id, or as much of the beginning as no other has."


@dataclass(frozen=True)
class Given:
    """The options before the command: `releases --config FILE list` does the same as `releases list --config FILE`."""

    config_path: Path | None = None
    overrides: list[str] = field(default_factory=list)

    def settings(self, config_path: Path | None, overrides: list[str] | None) -> config.Settings:
        """Load the settings, with the options that stand after the command too; raises ConfigError."""
        path = config_path or self.config_path
        if path is None:
            raise ConfigError("no file of settings; give --config FILE")
        return config_file.load(path, [*self.overrides, *(overrides or ())])


@app.callback()
def releases(
    context: typer.Context, config_path: options.OptionalConfigPath = None, overrides: options.Overrides = None
) -> None:
    """List, show and compare releases, roll back to one, remove old ones."""
    context.obj = Given(config_path, overrides or [])


@app.command("list")
def list_releases(
    context: typer.Context,
    config_path: options.OptionalConfigPath = None,
    overrides: options.Overrides = None,
    as_json: options.AsJson = False,
) -> None:
    """Print a line for each release, the newest first, and then what is wrong with CURRENT, if anything is."""
    with exits.exit_code(as_json=as_json):
        warehouse = opening.open_warehouse(context.obj.settings(config_path, overrides))
        figures = release_figures.of_all(warehouse)
        if as_json:
            warehouse.need_current()
            output.print_json({"warehouse": warehouse.name, "releases": figures})
            return
        if figures:
            release_text.print_list(warehouse.name, figures)
        warehouse.need_current()


@app.command("show")
def show(
    context: typer.Context,
    release: Annotated[
        str | None, typer.Argument(metavar="RELEASE", help=f"{_RELEASE_HELP} By default the current one.")
    ] = None,
    config_path: options.OptionalConfigPath = None,
    overrides: options.Overrides = None,
    as_json: options.AsJson = False,
) -> None:
    """Print the figures, gates, seconds and sizes of one release, and then what is wrong with its files."""
    with exits.exit_code(as_json=as_json):
        warehouse = opening.open_warehouse(context.obj.settings(config_path, overrides))
        found = warehouse.need_current() if release is None else warehouse.find(release, refused=True)
        figures = release_figures.of_one(warehouse, found)
        if as_json:
            warehouse.need_sound(found)
            output.print_json(figures)
            return
        release_text.print_release(figures)
        warehouse.need_sound(found)


@app.command("rollback")
def roll_back(
    context: typer.Context,
    release: Annotated[
        str | None, typer.Argument(metavar="RELEASE", help=f"{_RELEASE_HELP} By default the one before.")
    ] = None,
    config_path: options.OptionalConfigPath = None,
    overrides: options.Overrides = None,
) -> None:
    """Make another release the current one, in one step: by default the one that the current one followed."""
    with exits.exit_code():
        settings = context.obj.settings(config_path, overrides)
        warehouse = opening.open_warehouse(settings)
        _need_releases(warehouse)
        with warehouse.writer(settings.warehouse.lock_ttl):
            wanted = warehouse.previous() if release is None else warehouse.find(release)
            was = release_figures.pointer(warehouse)
            if was and was.release_id == wanted.release_id:
                output.line(f"{wanted.release_id} is the current release already; nothing to do")
                return
            sinks = _open_sinks(warehouse, settings)
            _prepare(sinks, warehouse, wanted)
            warehouse.roll_back(wanted)
            former = was.release_id if was else "no readable CURRENT"
            output.line(f"rolled back from {former} to {wanted.release_id}")
            _publish(sinks, warehouse)


@app.command("diff")
def diff(
    context: typer.Context,
    releases: Annotated[tuple[str, str], typer.Argument(metavar="OLD NEW", help=_RELEASE_HELP)],
    config_path: options.OptionalConfigPath = None,
    overrides: options.Overrides = None,
    as_json: options.AsJson = False,
) -> None:
    """Print which items, pictures and neighbours differ between two releases."""
    with exits.exit_code(as_json=as_json):
        settings = context.obj.settings(config_path, overrides)
        warehouse = opening.open_warehouse(settings)
        old, new = (warehouse.find(release_id, refused=True) for release_id in releases)
        if old == new:
            raise ConfigError(f"diff {' '.join(releases)}: both are the release {old.release_id}; give two")
        from lookalike.cli import release_diff
        from lookalike.cli.session import reading_session

        with reading_session("releases", settings, new) as spark:
            found = release_diff.compare(spark, old, new)
        output.print_json(found.as_json()) if as_json else found.print()


@app.command("clean")
def clean(
    context: typer.Context,
    keep: Annotated[int, typer.Option(metavar="N", min=1, help="How many of the newest stay.")],
    config_path: options.OptionalConfigPath = None,
    overrides: options.Overrides = None,
    as_json: options.AsJson = False,
) -> None:
    """Remove old releases; the current one stays, and what its readers may still hold."""
    with exits.exit_code(as_json=as_json):
        settings = context.obj.settings(config_path, overrides)
        warehouse = opening.open_warehouse(settings)
        _need_releases(warehouse)
        with warehouse.writer(settings.warehouse.lock_ttl):
            _forget(warehouse, settings, keep)
            cleaned = warehouse.clean(keep, settings.warehouse.grace)
        figures = release_figures.of_clean_up(cleaned)
        output.print_json(figures) if as_json else release_text.print_clean_up(figures)


@app.command("publish")
@app.command("publish-views", hidden=True)  # its name until 0.5.0
def publish(
    context: typer.Context, config_path: options.OptionalConfigPath = None, overrides: options.Overrides = None
) -> None:
    """Make all that publish.* names show the current release, where a run or a rollback could not."""
    with exits.exit_code():
        settings = context.obj.settings(config_path, overrides)
        warehouse = opening.open_warehouse(settings)
        sinks = _open_sinks(warehouse, settings)
        if not sinks:
            raise ConfigError("publish.* names nothing that shows a release; set publish.delta, or another of its keys")
        _need_releases(warehouse)
        with warehouse.writer(settings.warehouse.lock_ttl):
            _publish(sinks, warehouse)


def _open_sinks(warehouse: Warehouse, settings: config.Settings) -> list[Sink]:
    if settings.publish == config.PublishSettings():
        return []
    from lookalike.cli.session import session
    from lookalike.sinks.opening import open_sinks

    return open_sinks(settings, warehouse, partial(session, "releases", settings))


def _prepare(sinks: Sequence[Sink], warehouse: Warehouse, release: ReleaseFolder) -> None:
    if not sinks:
        return
    from lookalike.sinks import publishing

    warehouse.need_sound(release)
    publishing.prepare(sinks, release)


def _publish(sinks: Sequence[Sink], warehouse: Warehouse) -> None:
    if not sinks:
        return
    from lookalike.sinks import publishing

    release = warehouse.need_current()
    publishing.publish(sinks, release)
    for sink in sinks:
        output.line(f"the {sink.name} show {release.release_id}")


def _forget(warehouse: Warehouse, settings: config.Settings, keep: int) -> None:
    """Make the sinks let go of what a clean-up is about to remove."""
    if not (sinks := _open_sinks(warehouse, settings)):
        return
    from lookalike.sinks import publishing

    kept = warehouse.kept(keep, settings.warehouse.grace, [sink.holder for sink in sinks])
    publishing.forget(sinks, [one.release_id for one in warehouse.releases() if one.release_id not in kept])


def _need_releases(warehouse: Warehouse) -> None:
    """Raise WarehouseError for a warehouse without a release: to lock it would make a folder at a mistyped path."""
    if not warehouse.releases():
        warehouse.need_current()
