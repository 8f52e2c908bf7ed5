"""`lookalike demo`: draw a small catalogue, run the job on it, and show what came out."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lookalike import config_file
from lookalike.cli import exits, options, output, show
from lookalike.demo import catalogue
from lookalike.errors import ConfigError
from lookalike.progress import Progress, say_step

if TYPE_CHECKING:
    from lookalike.cli.overview import Overview

# A path of demo.yaml, which is written for build/demo.
_PATH = re.compile(r"(?<=: )build/demo(\S*)")


@dataclass(frozen=True)
class Files:
    """The files in the folder of a demo, as absolute paths, which lead to them from any other folder."""

    folder: Path

    @property
    def catalogue(self) -> Path:
        """The drawn catalogue."""
        return self.folder / "catalogue.parquet"

    @property
    def settings(self) -> Path:
        """The settings of the run, for other commands."""
        return self.folder / "demo.yaml"

    def as_json(self) -> dict[str, str]:
        """Return what `demo --json` prints of them."""
        return {"folder": str(self.folder), "catalogue": str(self.catalogue), "settings": str(self.settings)}


def demo(
    folder: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Gets catalogue.parquet, images/, demo.yaml and warehouse/.")
    ] = Path("lookalike-demo"),
    items: Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="Pictures to draw.")] = 500,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Another seed, other pictures.")] = 7,
    only_draw: Annotated[bool, typer.Option("--only-draw", help="Draw, and run nothing.")] = False,
    overrides: options.Overrides = None,
    as_json: options.AsJson = False,
) -> None:
    """Draw a small catalogue of products, run the job on it, and show similar items. Needs no network.

    What is there already stays: the next time, only what you changed is computed.
    """
    with exits.exit_code(as_json=as_json):
        files = Files(folder.absolute())
        _draw(files, items, seed)
        if only_draw:
            output.print_json(files.as_json()) if as_json else output.line(f"drawn: {files.catalogue}")
            return
        settings = config_file.load(files.settings, overrides or ())
        from lookalike.cli import checks, overview, run
        from lookalike.cli.session import session

        checks.before_run(settings)
        with session("demo", settings) as spark:
            figures = run.refresh(spark, settings)
            page = overview.read(spark, settings, items=show.ITEMS, labels=None)
        if as_json:
            output.print_json({**files.as_json(), "run": figures, "show": page.as_json()})
            return
        page.print()
        _print_next(files, page, overrides or [])


def _print_next(files: Files, page: Overview, overrides: list[str]) -> None:
    """Print what to do next; the last line is the page's address, to open in a browser."""
    # As it was called itself where the shell would not find it, as in a checkout.
    program = "lookalike" if shutil.which("lookalike") else sys.argv[0]
    given = ["--config", str(files.settings), *(word for one in overrides for word in ("--set", one))]
    output.section("One item and its neighbours", [shlex.join([program, "show", page.samples[0].item.item_id, *given])])
    output.section("A site to look around", [shlex.join([program, "browse", *given])])
    output.line("The page, for a browser:" if page.report else "The tables:")
    output.line(page.report.as_uri() if page.report else str(page.places["similar_items"].parent))


def _draw(files: Files, items: int, seed: int) -> None:
    """Draw the catalogue, unless it is there already, and write the settings; raises ConfigError."""
    there = catalogue.drawn_from(files.catalogue)
    if there is None and files.catalogue.exists():
        raise ConfigError(f"--folder {files.folder}: holds a catalogue of another kind; give another folder")
    try:
        if there != catalogue.origin(items, seed):
            say_step("draw", f"{items:,} pictures in {files.folder / 'images'}")
            drawn: list[int] = []
            with Progress(items, "pictures", lambda: len(drawn), lambda: 0):
                catalogue.draw_catalogue(files.folder, items, seed, drawn.append)
        template = resources.files("lookalike.demo").joinpath("demo.yaml").read_text(encoding="utf-8")
        files.settings.write_text(
            _PATH.sub(lambda path: _quoted(f"{files.folder}{path[1]}"), template), encoding="utf-8"
        )
    except OSError as error:
        raise ConfigError(
            f"--folder {files.folder}: cannot be written ({error.strerror or error}); give another folder"
        ) from None


def _quoted(path: str) -> str:
    """Return a path as YAML, which JSON is."""
    return json.dumps(path, ensure_ascii=False)
