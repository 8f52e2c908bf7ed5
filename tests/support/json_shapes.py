"""The keys of the objects that commands print with --json, as the documents list them."""

from __future__ import annotations

import re

from support.drawn import ROOT
from support.pages import table


def documented(command: str) -> list[str]:
    """Return the keys of a command's object, in order."""
    rows = {row[0].strip("`"): row[1] for row in table(ROOT / "docs" / "command.md", "JSON")}
    return re.findall(r"`([a-z_]+)`", rows[command])
