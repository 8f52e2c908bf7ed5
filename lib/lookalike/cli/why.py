"""`lookalike why`: why one item is in the list of another, or is not."""

from __future__ import annotations

from typing import Annotated

import typer

from lookalike import config_file
from lookalike.cli import exits, options, output


def why(
    config_path: options.ConfigPath,
    item_id: Annotated[str, typer.Argument(metavar="ITEM", help="Id of the item whose list it is.")],
    other_id: Annotated[str, typer.Argument(metavar="OTHER", help="Id of the item that is in that list, or is not.")],
    overrides: options.Overrides = None,
    as_json: options.AsJson = False,
) -> None:
    """Say why OTHER is in the list of ITEM in the current release, or is not: its score, its rank, and the rule.

    Reads the release without Spark.
    """
    with exits.exit_code(as_json=as_json):
        from lookalike.serving.client import Release
        from lookalike.warehouse import opening

        warehouse = opening.open_warehouse(config_file.load(config_path, overrides or ()))
        found = Release(warehouse.fetch(warehouse.need_current())).why(item_id, other_id)
        if as_json:
            output.print_json(found.as_json())
        else:
            text, *figures = found.lines()
            output.section(text, figures)
