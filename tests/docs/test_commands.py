"""Every command that the documents show exists, with its options: read by the real parsers, and not run."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from lookalike import config_file
from lookalike.cli import main
from support.drawn import ROOT
from support.pages import Block, guides, runnable, spans

COMMAND = typer.main.get_command(main.app)

# spark-submit's doors onto the command
JOBS = {
    "jobs/embed.py": ["run"],
    "jobs/show.py": ["show"],
    "jobs/releases.py": ["releases"],
    "jobs/doctor.py": ["doctor"],
}

# What a page writes for what the reader has to fill in.
PLACEHOLDERS = {"N": "3", "FILE": "conf/nightly.yaml"}


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the project's settings, in which a reader has made files of his own."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    for name in ("shop.yaml", "conf/shop.yaml"):
        shutil.copy(ROOT / "conf/nightly.yaml", tmp_path / name)
    monkeypatch.chdir(tmp_path)


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of a block of shell, without what it redirects to."""
    for line in text.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word == "&&":
                yield from [words] if words else []
                words = []
            elif not re.fullmatch(r"[A-Z_]+=.*", word):
                words.append(word)


def check(words: list[str]) -> None:
    """Raise or fail unless the command exists and takes these words."""
    words = words[: words.index(">")] if ">" in words else words
    name, rest = Path(words[0]).name, words[1:]
    if name == "make":
        check_make(rest)
    elif name == "lookalike":
        missing = parse(COMMAND, name, rest)
        assert not missing, f"{' '.join(words)} needs {missing}"
    elif name == "spark-submit":
        job = next(number for number, word in enumerate(rest) if word.endswith(".py"))
        assert (ROOT / rest[job]).is_file()
        assert not parse(COMMAND, name, [*JOBS[rest[job]], *rest[job + 1 :]])
    elif name == "cp":
        assert Path(rest[0]).is_file()
    else:
        pytest.fail(f"no test knows the command {words[0]}; say on the block's first line why it is not run")


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for word in words:
        assert "=" in word or word in targets, f"make knows no {word}; it knows {targets}"


def parse(command: Any, name: str, words: list[str], parent: Any = None) -> Any:
    """Read the words as the command would, down to the last subcommand, and return its missing parameters.

    Raises what the command prints on a wrong word. No callback runs: --install-completion would write to the home.
    """
    context = command.context_class(command, info_name=name, parent=parent)
    given, rest, _ = command.make_parser(context).parse_args(args=list(words))
    values = {one.name: given[one.name] for one in command.params if is_given(given.get(one.name))}
    for override in values.get("overrides") or ():
        config_file.load(ROOT / "conf/nightly.yaml", [override])
    if not isinstance(command, TyperGroup):
        assert not rest, f"{name} takes no {rest}"
        return [one.name for one in command.params if one.required and one.name not in values]
    if not rest:
        return []
    found = command.get_command(context, rest[0])
    assert found is not None, f"{name} has no command {rest[0]}"
    return parse(found, rest[0], rest[1:], context)


def is_given(value: Any) -> bool:
    """Tell a value from what the parser writes for an argument that is not there."""
    return value is not None and "UNSET" not in str(value)


@pytest.mark.parametrize("block", runnable("sh"), ids=str)
def test_commands_of_a_block_exist(block: Block) -> None:
    found = list(commands(block.text))
    assert found
    for words in found:
        check(words)


SPANS = sorted({(page.name, span) for page in guides() for span in spans(page) if re.match(r"(make|lookalike) ", span)})


@pytest.mark.parametrize(("page", "span"), SPANS)
def test_commands_of_the_text_exist(page: str, span: str) -> None:
    words = [PLACEHOLDERS.get(word, word) for word in re.sub(r"[\[\]]", "", span).split()]
    if words[0] == "make":
        check_make(words[1:])
    else:  # the text names a command, not all that it needs
        parse(COMMAND, words[0], words[1:])


OVERRIDES = sorted({(page.name, span) for page in guides() for span in spans(page) if span.startswith("--set ")})


@pytest.mark.parametrize(("page", "span"), [one for one in OVERRIDES if "=value" not in one[1].lower()])
def test_overrides_of_the_text_are_settings(page: str, span: str) -> None:
    assert config_file.load(ROOT / "conf/nightly.yaml", re.split(r" *--set ", span)[1:])


def test_every_command_is_explained() -> None:
    releases = COMMAND.commands["releases"]
    shown = {span for page in ("command.md", "operations.md") for span in spans(ROOT / "docs" / page)}
    for command in [*COMMAND.commands, *(f"releases {name}" for name in releases.commands)]:
        assert any(span.split()[: 1 + len(command.split())] == ["lookalike", *command.split()] for span in shown), (
            command
        )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lookalike", "run", "--config", "conf/shop.yaml", "--keeps", "3"], "No such option"),
        (["lookalike", "run"], "needs .'config_path'"),
        (["lookalike", "run", "--config", "conf/shop.yaml", "--set", "similar.kk=3"], "unknown key"),
        (["lookalike", "releases", "clean", "--config", "conf/shop.yaml"], "needs .'keep'"),
        (["lookalike", "releases", "lists"], "has no command lists"),
        (["make", "demos"], "make knows no demos"),
        (["lookalikes", "run"], "no test knows"),
    ],
)
def test_what_is_not_there_is_found(words: list[str], said: str) -> None:
    with pytest.raises((Exception, pytest.fail.Exception), match=said):
        check(words)
