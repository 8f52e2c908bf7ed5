"""The drawn catalogue of the suite, and where the project and the real photos are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

ROOT = Path(__file__).parents[2]

# Real photos, where they lie next to the checkout.
PHOTOS = ROOT.parent / "shared" / "catalogue"


@dataclass(frozen=True)
class Drawn:
    """A drawn catalogue on disk: `bad` maps the item ids without a sound picture to the reason expected."""

    folder: Path
    table: pa.Table
    bad: dict[str, str]

    @property
    def path(self) -> Path:
        """The Parquet file."""
        return self.folder / "catalogue.parquet"
