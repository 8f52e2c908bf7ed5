"""`lookalike releases`: list, show and compare the releases of a warehouse, roll back to one, remove old ones.

Only diff starts Spark and, with publish.catalog, rollback and publish-views.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from lookalike import config, config_file
from lookalike.cli import exits, options, output, release_figures, release_text
from lookalike.errors import ConfigError
from lookalike.warehouse import opening
from lookalike.warehouse.local import Warehouse

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
            warehouse.roll_back(wanted)
            former = was.release_id if was else "no readable CURRENT"
            output.line(f"rolled back from {former} to {wanted.release_id}")
            if settings.publish.catalog:
                _point_views(warehouse, settings)


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
            cleaned = warehouse.clean(keep, settings.warehouse.grace)
        figures = release_figures.of_clean_up(cleaned)
        output.print_json(figures) if as_json else release_text.print_clean_up(figures)


@app.command("publish-views")
def publish_views(
    context: typer.Context, config_path: options.OptionalConfigPath = None, overrides: options.Overrides = None
) -> None:
    """Point the SQL views of publish.catalog to the current release, where a run or a rollback could not."""
    with exits.exit_code():
        settings = context.obj.settings(config_path, overrides)
        if not settings.publish.catalog:
            raise ConfigError("publish.catalog is not set; name the database that gets the views")
        warehouse = opening.open_warehouse(settings)
        _need_releases(warehouse)
        with warehouse.writer(settings.warehouse.lock_ttl):
            _point_views(warehouse, settings)


def _point_views(warehouse: Warehouse, settings: config.Settings) -> None:
    from lookalike.cli.session import session
    from lookalike.sql import metastore

    with session("releases", settings) as spark:
        metastore.point_to_current(spark, warehouse, settings)
    output.line(f"the views of the database {settings.publish.catalog} show {warehouse.need_current().release_id}")


def _need_releases(warehouse: Warehouse) -> None:
    """Raise WarehouseError for a warehouse without a release: to lock it would make a folder at a mistyped path."""
    if not warehouse.releases():
        warehouse.need_current()
