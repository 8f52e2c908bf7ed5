"""Make any text safe to print and to store: on one line, without secrets and control characters, not too long."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from lookalike.redaction import redacted

# A person reads a line of this length; a value of 1 MB in it is cut in its middle.
LONGEST_LINE = 500

_CUT = " … "
_UNSEEN = re.compile(r"[^\x20-\x7e]")


def one_line(text: str, longest: int = LONGEST_LINE) -> str:
    """Return a text of strangers as one line for a person: redacted, escaped, and cut in its middle."""
    lines = (line.strip(" \t\r") for line in redacted(text).split("\n"))
    return shortened(escaped(" ".join(line for line in lines if line)), longest)


def escaped(text: str) -> str:
    r"""Return `text` with each character that is not seen, or moves what is seen, as its escape: ESC as \x1b.

    Such are control characters, those of direction and tags, line separators, surrogates, and unassigned ones.
    """
    return text if text.isprintable() else "".join(map(_escape, text))


def escaped_lines(text: str) -> str:
    """Return `text` escaped, but for its line ends and tabs, as a stack trace has them."""
    return "\n".join("\t".join(map(escaped, line.split("\t"))) for line in text.split("\n"))


def json_text(value: Any, *, allow_nan: bool = False) -> str:
    r"""Return `value` as JSON, its letters as they are, each character that `escaped` names as \\u…."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=allow_nan, default=str)
    return "\n".join(line if line.isprintable() else _UNSEEN.sub(_json_escape, line) for line in text.split("\n"))


def without_secrets(value: Any) -> Any:
    """Return JSON types with every string, which may be an id or a label, without what is named as a secret in it."""
    if isinstance(value, str):
        return redacted(value, queries=False)
    if isinstance(value, dict):
        return {name: without_secrets(one) for name, one in value.items()}
    return [without_secrets(one) for one in value] if isinstance(value, list | tuple) else value


def shortened(line: str, longest: int) -> str:
    """Leave out the middle of a line that is too long: it begins with what happened, and ends with what to do."""
    if len(line) <= longest:
        return line
    end = (longest - len(_CUT)) // 2
    return f"{line[: longest - len(_CUT) - end]}{_CUT}{line[-end:]}"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii") if _is_unseen(character) else character


def _json_escape(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1] if _is_unseen(found[0]) else found[0]


def _is_unseen(character: str) -> bool:
    # Blanks of any width are no danger, and stand in labels of many languages.
    return not character.isprintable() and unicodedata.category(character) != "Zs"
