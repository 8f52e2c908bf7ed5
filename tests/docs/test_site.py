"""`make docs`: the site is built strictly, and loads nothing from the web."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from support.drawn import ROOT

# Not --quiet, with which mkdocs counts no warnings.
BUILD = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file"]


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build a site; stderr has the warnings."""
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [*BUILD, config, "--site-dir", site]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_site_is_built_without_a_warning_and_loads_nothing_from_the_web(tmp_path: Path) -> None:
    done = build(ROOT / ".mkdocs.yml", tmp_path)
    assert done.returncode == 0, done.stderr
    built = list(tmp_path.rglob("*.html"))
    assert {page.stem for page in built} >= {page.stem for page in (ROOT / "docs").glob("*.md")}
    for page in built:
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]+", page.read_text(encoding="utf-8"))
        assert loaded
        assert not [tag for tag in loaded if re.search(r"(?:src|href)=.?(?:https?:)?//", tag)], page.name


def test_link_or_anchor_that_leads_nowhere_fails(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    targets = ("none.md", "#none", "other.md#none", "/other.md")
    (tmp_path / "docs/index.md").write_text("# Title\n\n" + "\n".join(f"[a link]({target})" for target in targets))
    (tmp_path / "docs/other.md").write_text("# Other\n")
    settings, _ = (ROOT / ".mkdocs.yml").read_text().split("nav:")
    (tmp_path / "mkdocs.yml").write_text(settings)
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 1, done.stderr
    for target in targets:
        assert f"'{target}'" in done.stderr
