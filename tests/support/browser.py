"""The system's Chromium, for the tests that look at pages; run as a program, it says where there is none."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def chromium() -> str | None:
    """Return the program: that of the variable CHROMIUM, or else the first of these names; None without one."""
    return shutil.which(os.environ.get("CHROMIUM", "")) or next(filter(None, map(shutil.which, _NAMES)), None)


def why_not() -> str | None:
    """Return why no page can be looked at here; None when one can."""
    if chromium():
        return None
    return (
        "no page is tested in a browser: there is no Chromium here (on Debian: apt-get install chromium; "
        "another place: CHROMIUM=/path/to/it)"
    )


@contextmanager
def browser() -> Iterator[Browser]:
    """Start the browser, without a window."""
    from playwright.sync_api import sync_playwright

    # As root it has no sandbox of its own; a container's /dev/shm is small.
    options = ["--no-sandbox", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=options)
        yield opened
        opened.close()


if __name__ == "__main__" and (reason := why_not()):
    print(reason, file=sys.stderr)
