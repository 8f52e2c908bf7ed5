"""`lookalike show`: the current release, or one of its items."""

from __future__ import annotations

from typing import Annotated

import typer

from lookalike import config_file
from lookalike.cli import exits, options, output
from lookalike.errors import ConfigError
from lookalike.warehouse import opening

ITEMS = 3


def show(
    config_path: options.ConfigPath,
    item_id: Annotated[str | None, typer.Argument(metavar="ITEM", help="Id of one item.")] = None,
    items: Annotated[int, typer.Option(metavar="N", min=0, max=1000, help="Items to show without ITEM.")] = ITEMS,
    labels: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Columns to compare by; those of catalogue.keep_columns if not set."),
    ] = None,
    overrides: options.Overrides = None,
    as_json: options.AsJson = False,
) -> None:
    """Show one item and its neighbours; without ITEM a few, how good they are, and how to read them with SQL.

    One item is read without Spark, at once.
    """
    with exits.exit_code(as_json=as_json):
        settings = config_file.load(config_path, overrides or ())
        if item_id is not None:
            if (items, labels) != (ITEMS, None):
                raise ConfigError("--items and --labels are for several items; leave them out, or leave out ITEM")
            from lookalike.cli import item

            found = item.read(settings, item_id)
            output.print_json(found.as_json()) if as_json else found.print()
            return
        current = opening.open_warehouse(settings).need_current()  # before Spark starts
        from lookalike.cli import overview
        from lookalike.cli.session import reading_session

        with reading_session("show", settings, current) as spark:
            page = overview.read(spark, settings, items=items, labels=labels)
        output.print_json(page.as_json()) if as_json else page.print()
