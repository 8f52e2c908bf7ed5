"""The template engine, as all pages use it: it escapes what comes from the catalogue, and makes it safe to look at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from lookalike.pages import words
from lookalike.redaction import redacted
from lookalike.safe_text import escaped, shortened

# Characters of an id, a label or a path that are shown: a stranger may have made them long.
_LONGEST = 200

_CODE = re.compile(r"`([^`]*)`")


def environment(package: str) -> Environment:
    """Return the engine for the templates of a package, which may use those of this one."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("lookalike.pages")]),
        autoescape=True,
        finalize=_safe,
        undefined=StrictUndefined,  # a wrong name is an error, not a gap in the page
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "short": _short,
        "coded": _coded,
        "date": words.date,
        "percent": words.percent,
        "number": "{:,}".format,
    }
    return made


def _safe(value: Any) -> Any:
    """Return what the page shows of a text: no secrets, and no characters that move what stands around them."""
    if not isinstance(value, str) or hasattr(value, "__html__"):  # the page's own: a thumbnail
        return value
    return escaped(redacted(value, queries=False))


def _short(value: str, longest: int = _LONGEST) -> str:
    """Return a text of strangers without its middle, where it is too long to read; made safe before it is cut."""
    return shortened(str(_safe(value)), longest)


def _coded(value: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a text of ours, and whether each is code, which stands between backticks."""
    for place, part in enumerate(_CODE.split(value)):
        if part:
            yield part, place % 2 == 1
