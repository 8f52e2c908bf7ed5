"""The documents as tests see them: their blocks of code, links, headings, tables and code spans."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.drawn import ROOT

# What a block may be. `text` is shown and never run.
LANGUAGES = ("python", "sql", "yaml", "sh", "text")

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NOT_TESTED = re.compile(r"(?:#|--) not tested: \S.*")
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int  # of its first line in the page
    language: str
    text: str

    @property
    def is_run(self) -> bool:
        """Tell whether the block has no first line that says why it is not run."""
        return self.language != "text" and not _NOT_TESTED.match(self.text)

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Return every document: those of the root first, then those of docs/."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def guides() -> list[Path]:
    """Return the documents that speak of the code as it is; the changelog also speaks of what it was."""
    return [page for page in pages() if page.name != "CHANGELOG.md"]


def blocks(*languages: str) -> list[Block]:
    """Return the blocks of all pages that are of one of the languages, or all without any."""
    found = [block for page in pages() for block in _blocks(page)]
    return [block for block in found if not languages or block.language in languages]


def runnable(language: str) -> list[Block]:
    """Return the blocks of a language that do not say why they are not run."""
    return [block for block in blocks(language) if block.is_run]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def spans(page: Path) -> list[str]:
    """Return what a page shows as code within its text."""
    return _SPAN.findall(prose(page))


def links(page: Path) -> list[str]:
    """Return the targets of a page's links."""
    return _LINK.findall(_SPAN.sub("", prose(page)))


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings get, here and on the web."""
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings(page)}


def headings(page: Path) -> list[str]:
    """Return a page's headings, the title first."""
    return _HEADING.findall(prose(page))


def table(page: Path, heading: str) -> list[list[str]]:
    """Return the rows, without the head, of the first table below a heading."""
    text = prose(page)
    start = re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE)
    assert start, f"{page.name} has no heading {heading!r}"
    section = re.split(r"^#+ ", text[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    first = re.split(r"\n\n", section[section.index("\n|") + 1 :], maxsplit=1)[0]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in _ROW.findall(first)]
    return rows[2:]


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        yield Block(page, text.count("\n", 0, match.start()) + 2, match[1], match[2])
