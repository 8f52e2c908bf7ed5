"""A command whose locale is not of UTF-8 reads its arguments and names of files as UTF-8 all the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# What the command and the JVM that it starts would have.
SAYS = """
import os, sys
from lookalike.cli import utf8
utf8.restart_with_utf8()
utf8.set_locale()
at = ("LC_ALL", "LC_CTYPE")
locale = next((os.environ[name] for name in at if os.environ.get(name)), "")
print(sys.getfilesystemencoding(), ascii(sys.argv[-1]), locale)
"""

LOCALES: dict[str, dict[str, str]] = {
    "none": {},
    "C": {"LC_ALL": "C"},
    "POSIX": {"LANG": "POSIX"},
    "one that is not there": {"LANG": "xx_YY.UTF-8"},
    "ASCII on purpose": {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "C and no UTF-8 mode": {"LC_ALL": "C", "PYTHONUTF8": "0"},
}


@pytest.mark.parametrize("case", LOCALES)
def test_names_are_utf8_in_python_and_in_what_it_starts(case: str) -> None:
    bare = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **LOCALES[case]}
    done = subprocess.run([sys.executable, "-c", SAYS, "Möbel"], env=bare, capture_output=True, text=True, check=True)
    encoding, word, locale = done.stdout.split()
    assert (encoding, word) == ("utf-8", "'M\\xf6bel'")
    assert "utf" in locale.lower()
