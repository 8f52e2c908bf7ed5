"""Names of files are UTF-8, whatever the locale: cron, systemd and containers often start a job without one."""

from __future__ import annotations

import locale
import os
import sys

# The first is on any Linux of these years; the others on older ones and on macOS.
_LOCALES = ("C.UTF-8", "en_US.UTF-8", "UTF-8")


def restart_with_utf8() -> None:
    """Start this process again in Python's UTF-8 mode, where the locale would have it read names as ASCII or Latin-1.

    Python chooses that mode by itself in the locale C, but not where PYTHONUTF8=0 or a locale of another encoding is
    set. Workers and the decoder inherit it.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very command


def set_locale() -> None:
    """Set a locale of UTF-8 for the processes that this one starts, where there is none: Java's names follow it."""
    if locale.nl_langinfo(locale.CODESET).upper().replace("-", "") == "UTF8":
        return
    found = next(filter(_is_there, _LOCALES), None)
    if found is not None:
        os.environ["LC_ALL" if os.environ.get("LC_ALL") else "LC_CTYPE"] = found


def _is_there(name: str) -> bool:
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_CTYPE, before)
    return True
