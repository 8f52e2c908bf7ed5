"""Say what is odd in a path of the catalogue, and which names it may stand for."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterator
from pathlib import PurePosixPath
from urllib.parse import unquote

# A name of a file system has 255 bytes and a path 4,096: nothing near a longer one exists.
LONGEST = 4096


def is_blank(path: str) -> bool:
    """Whether nothing of the path can be seen: blanks, controls and marks without a width."""
    return not any(_is_seen(character) for character in path)


def oddity(path: str) -> str:
    """Return a few words on blanks at the path's ends and on what is no text in it; nothing for a plain path."""
    start, end = _ends(path)
    inside = "".join(one for one in path[len(start) : len(path) - len(end)][:LONGEST] if not _is_text(one))
    parts = {"begins with": start, "holds": inside, "ends with": end}
    said = [f"{verb} '{_escaped(text)}'" for verb, text in parts.items() if text]
    return f"the path {' and '.join(said)}" if said else ""


def near_names(path: str) -> Iterator[str]:
    """Yield what the path may have been meant to be, each once: one name for most paths, twelve at most."""
    if len(path) > LONGEST:
        return
    start, end = _ends(path)
    trimmed = path[len(start) : len(path) - len(end)]
    seen = {path, ""}
    for name in (
        trimmed,
        unicodedata.normalize("NFC", trimmed),
        unicodedata.normalize("NFD", trimmed),
        unicodedata.normalize("NFKC", trimmed),
        "".join(one for one in trimmed if _is_text(one)),
        trimmed.replace("\\", "/"),
        unquote(trimmed),
        _read_as_latin(trimmed),
        trimmed.strip("/"),
        trimmed.strip("'\""),
        html.unescape(trimmed),
        _other_case(trimmed),
    ):
        if name not in seen:
            seen.add(name)
            yield name


def _is_seen(character: str) -> bool:
    return character.isprintable() and not character.isspace()


def _is_text(character: str) -> bool:
    return character.isprintable() and character != "\ufffd"  # what make_valid_utf8 puts for a wrong byte


def _ends(path: str) -> tuple[str, str]:
    """Return the characters that are not seen before the first one that is, and those behind the last."""
    start = next((number for number, one in enumerate(path) if _is_seen(one)), len(path))
    end = next((number for number, one in enumerate(reversed(path)) if _is_seen(one)), 0)
    return path[:start], path[len(path) - end :]


def _escaped(text: str) -> str:
    """Return the first characters, those that are not seen as their codes; a plain blank stays as it is."""
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text[:20])
    return f"{shown}…" if len(text) > 20 else shown


def _read_as_latin(path: str) -> str:
    """Return the UTF-8 text that was read as Latin-1: `MÃ¶bel` for `Möbel`; the path itself if it is none."""
    try:
        return path.encode("latin-1").decode()
    except UnicodeError:
        return path


def _other_case(path: str) -> str:
    """Return the path with the suffix in the other case: .JPG for .jpg."""
    suffix = PurePosixPath(path).suffix
    return path.removesuffix(suffix) + suffix.swapcase()
