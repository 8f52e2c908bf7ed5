"""`lookalike config`: every key of the settings."""

from __future__ import annotations

import typer

from lookalike import config_file, config_reference
from lookalike.cli import exits, options, output


def print_settings(config_path: options.OptionalConfigPath = None, overrides: options.Overrides = None) -> None:
    """Print every key of the settings as YAML, with its default and what it means.

    With --config, the values are those of that file: what a run with it uses.
    """
    with exits.exit_code():
        if config_path is None and overrides:
            raise typer.BadParameter("give --config too: it names the settings to override", param_hint="--set")
        settings = config_file.load(config_path, overrides or ()) if config_path else None
        output.put(config_reference.as_yaml(settings))
