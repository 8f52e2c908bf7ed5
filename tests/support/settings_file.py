"""Load settings from YAML text, or get the line that refuses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike import config, config_file
from lookalike.errors import ConfigError

MINIMAL = "catalogue: {path: items.parquet}\nwarehouse: {path: out}\n"


def load(tmp_path: Path, text: str | bytes = MINIMAL, *overrides: str) -> config.Settings:
    """Write `text` to a file and load it, with overrides."""
    path = tmp_path / "conf.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return config_file.load(path, overrides)


def complaint(tmp_path: Path, text: str | bytes = MINIMAL, *overrides: str) -> str:
    """Return the one line that refuses `text`."""
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text, *overrides)
    line = str(refused.value)
    assert len(line.splitlines()) == 1
    return line
