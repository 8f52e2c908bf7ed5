"""docs/api.md, made of the docstrings of the public names: `make docs` writes it, and a test holds it to them."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lookalike
from support.drawn import ROOT

PAGE = ROOT / "docs/api.md"

INTRODUCTION = """# Python reference

This page lists every public name of the package with its docstring; [Python](python.md) is the introduction. It is made
by `make docs`.

Where a method takes items, `item_ids` are a list, an array, or a column of ids.
"""

# What a type has of its own; the methods of Python's lists are not repeated.
CLASSES = ("Release", "Neighbours", "NeighbourLists", "Items", "Changes", "Why")

# What is made of fields alone; what else these can do is for the job.
RECORDS = ("Neighbour", "ReleaseRecord", "StoreSettings")

ALL_GROUPS = """## ALL_GROUPS

The default of `group`: items of every group. It is a value of its own, because None names the items without a value of
`similar.group_by`.
"""


def as_markdown() -> str:
    """Return the page."""
    parts = [INTRODUCTION, *_entry("open_release", lookalike.open_release, "##")]
    for name in CLASSES:
        kind = getattr(lookalike, name)
        parts += [f"## {name}\n", _text(kind)]
        for member, value in _members(kind):
            parts += _entry(member, value, "###")
    for name in RECORDS:
        kind = getattr(lookalike, name)
        parts += [f"## {name}\n", _text(kind), _fields(kind)]
    return "\n".join([*parts, ALL_GROUPS, *_errors()])


def _fields(kind: Any) -> str:
    """The fields of a named tuple, or of a model with what it says of each."""
    said = {name: one.description for name, one in getattr(kind, "model_fields", {}).items()}
    if all(said.values()) and said:
        return "".join(f"- `{name}`: {text}\n" for name, text in said.items())
    return f"Its fields are {', '.join(f'`{name}`' for name in said or kind._fields)}.\n"


def _errors() -> Iterator[str]:
    """Every error with the first line of its docstring."""
    yield "## errors\n"
    yield "Every error is a `LookalikeError`; [Python](python.md#errors) says which of them a release raises.\n"
    for name, value in vars(lookalike.errors).items():
        if inspect.isclass(value) and issubclass(value, lookalike.errors.LookalikeError):
            yield f"- `{name}`: {inspect.getdoc(value).splitlines()[0]}"  # type: ignore[union-attr]
    yield ""


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class and of the bases that are ours, in the order of their lines."""
    told = set[str]()
    for base in kind.__mro__:
        if base.__module__.startswith("lookalike"):
            for name, value in vars(base).items():
                public = inspect.isfunction(value) or isinstance(value, property)
                if public and not name.startswith("_") and name not in told:
                    told.add(name)  # a base says it more generally
                    yield name, value


def _entry(name: str, value: Any, level: str) -> list[str]:
    shown = name if isinstance(value, property) else f"{name}{_arguments(value)}"
    return [f"{level} {name}\n", f"`{shown}`\n", _text(value)]


def _arguments(function: Any) -> str:
    """The arguments without their types."""
    parameters = [one.replace(annotation=inspect.Parameter.empty) for one in _parameters(function)]
    return str(inspect.Signature([one for one in parameters if one.name != "self"]))


def _parameters(function: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def _text(value: Any) -> str:
    """A docstring as Markdown: what is indented is code. From the source: Python 3.13 drops the indentation."""
    source = textwrap.dedent(inspect.getsource(value.fget if isinstance(value, property) else value))
    first, *lines = (ast.get_docstring(ast.parse(source).body[0], clean=False) or "").split("\n")  # type: ignore[arg-type]
    text = "\n".join([first, *(line.removeprefix("    ") for line in lines)]).rstrip() + "\n"
    return re.sub(r"(?m)^ {4}.*(?:\n+ {4}.*)*", lambda block: f"```text\n{textwrap.dedent(block[0])}\n```", text)


if __name__ == "__main__":
    Path(PAGE).write_text(as_markdown(), encoding="utf-8")
