"""`lookalike browse`: a site on this machine to look at the releases of a warehouse."""

from __future__ import annotations

from typing import Annotated

import typer

from lookalike import config_file
from lookalike.cli import exits, options, output

PORT = 8765


def browse(
    config_path: options.ConfigPath,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 takes one that is free.")] = PORT,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            envvar="LOOKALIKE_TOKEN",
            help="What visitors must know; at other addresses than loopback one is made if it is not given.",
        ),
    ] = None,
    overrides: options.Overrides = None,
) -> None:
    """Serve a site to look at releases: items and their neighbours, what is worst, failures, and what changed.

    It only reads. Ctrl-C ends it.
    """
    with exits.exit_code():
        settings = config_file.load(config_path, overrides or ())
        from lookalike.browse.server import Server

        server = Server(settings, host, port, token)
        output.put(f"{server.address}\n")
        server.serve()
