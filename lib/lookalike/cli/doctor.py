"""`lookalike doctor`: what the job needs, and whether it is there."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from lookalike import config, config_file
from lookalike.cli import exits, options, output
from lookalike.doctor.check import Check, of_error, worst
from lookalike.errors import SessionError


def doctor(
    config_path: options.ConfigPath, overrides: options.Overrides = None, as_json: options.AsJson = False
) -> None:
    """Check Java, Spark, its executors and their memory, weights, stores and clocks before the first run.

    Each check is a line: ok, warn (slow, or killed for its memory), or fail, with what to do. Submitted with the
    settings of the job, it asks each executor. Exit codes: 0, or 2 where a check failed.
    """
    with exits.exit_code(as_json=as_json):
        settings = config_file.load(config_path, overrides or ())
        checks, figures = [], dict[str, int]()
        for check in _checks(settings, figures):
            checks.append(check)
            if not as_json:
                output.line(check.line())
        state = worst(checks)
        if as_json:
            output.print_json({"state": state, "checks": [one.as_json() for one in checks], "memory": figures})
        if state == "fail":
            raise typer.Exit(2)


def _checks(settings: config.Settings, figures: dict[str, int]) -> Iterator[Check]:
    """Yield the checks; the figures of the executors' memory go into `figures`."""
    from lookalike.cli import checks
    from lookalike.cli.session import session
    from lookalike.doctor import driver, examine

    yield of_error("paths", lambda: checks.check_paths(settings))
    yield of_error("weights", lambda: driver.check_weights(settings))
    try:
        with session("doctor", settings) as spark:
            examination = examine.Examination(spark, settings)
            yield from examination.checks()
            figures |= examination.figures
    except SessionError as error:
        yield Check("spark", "fail", str(error))
