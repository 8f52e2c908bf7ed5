"""The options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from lookalike.cli import streams

_EMPTY = re.compile(r"--[a-z-]+=")


class Command(TyperCommand):
    """A command that refuses an empty word: a variable of a script that is not set would mean this folder, or all."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words behind the command's name."""
        for before, word in zip(["", *args], args, strict=False):
            if not word or _EMPTY.fullmatch(word):
                name = word.rstrip("=") or (before if before.startswith("--") else "an argument")
                ctx.fail(f"{name} is empty; give a value, or leave it out")
        return super().parse_args(ctx, args)


_CONFIG_HELP = "YAML file of settings; `lookalike config` prints one with every key."

ConfigPath = Annotated[Path, typer.Option("--config", metavar="FILE", help=_CONFIG_HELP)]
OptionalConfigPath = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help=f"{_CONFIG_HELP} Required, here or before the command's name."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one key of the settings, for example --set similar.k=10; may be repeated.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object in place of text.")]
ResultPlace = Annotated[
    str | None,
    typer.Option(
        "--result",
        metavar="PLACE",
        help="Write how the run ended to this JSON file: a path, or a URI in a store (s3, gs, abfs).",
    ),
]
LogFormat = Annotated[
    streams.LogFormat,
    typer.Option(
        "--log-format",
        help="How progress is written to stderr: text, with the time of each line in a log, or one JSON object a line.",
    ),
]
