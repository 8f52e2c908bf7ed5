"""Releases made by hand with tables as a run writes them, and the `lookalike releases` that publish them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from typer.testing import CliRunner

from lookalike import config
from lookalike.cli.main import app
from lookalike.spark import schemas
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder
from support import records

FIRST, SECOND, THIRD = ("20260101T020000Z-aaaaaa", "20260102T020000Z-bbbbbb", "20260103T020000Z-cccccc")

# A name with all that SQL, a URI, Delta or Iceberg could take for something else.
HOSTILE = "odd name,`x` {;}()=\t'\"%20#?日"
# Columns of three items with types that differ between formats.
KEPT: dict[str, list[Any]] = {
    HOSTILE: [1, 2, 3],
    "a.b": ["x", None, "z"],
    "seen": [datetime(2026, 1, 2, 3, 4, 5, 678901), None, datetime(9999, 12, 31)],  # noqa: DTZ001 - of no zone
    "added": [datetime(2026, 1, 2, tzinfo=UTC), None, None],
    "day": [date(2026, 1, 2), None, date(1900, 1, 1)],
    "price": [Decimal("1.25"), None, Decimal("-3.00")],
    "tags": [["new"], None, []],
    "size": [{"width": 1, "per cent": 0.5}, None, {"width": None, "per cent": 1.5}],
    "code": [b"\0\xff", None, b""],
}
PAIRS = (("a", "b"), ("a", "c"), ("b", "a"))
TABLES = ("similar_items", "embeddings", "failures")


@dataclass
class Shelf:
    """A warehouse, and the settings that publish it."""

    folder: Path
    publish: dict[str, Any]
    parent: str | None = None
    sections: dict[str, Any] = field(default_factory=dict)

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(str(self.folder / "warehouse"))

    @property
    def settings(self) -> config.Settings:
        return config.Settings.model_validate(self._raw())

    @property
    def place(self) -> dict[str, Any]:
        """Where the warehouse is."""
        return {"path": str(self.warehouse.path)}

    def _raw(self) -> dict[str, Any]:
        catalogue = {"path": str(self.folder / "catalogue.parquet")}
        warehouse = {**self.place, "grace": 0}
        return {"catalogue": catalogue, "warehouse": warehouse, "publish": self.publish, **self.sections}

    def put(
        self,
        release_id: str,
        pairs: Sequence[tuple[str, str]] = PAIRS,
        kept: dict[str, list[Any]] | None = None,
        failed: Sequence[str] = ("z",),
    ) -> ReleaseFolder:
        """A release that is now the current one: neighbours in order, and columns that its items keep."""
        release = ReleaseFolder(self.warehouse.path / "releases" / release_id)
        ranks = [1 + [one for one, _ in pairs[:at]].count(item) for at, (item, _) in enumerate(pairs)]
        ids = [item for item, _ in pairs], [other for _, other in pairs]
        self.table(release, "similar_items", item_id=ids[0], rank=ranks, similar_item_id=ids[1])
        items = sorted({*ids[0], *ids[1]})
        self.table(release, "embeddings", kept, item_id=items, image_hash=[f"{one}{release_id}" for one in items])
        if failed:
            self.table(release, "failures", item_id=list(failed))
        records.write_record(release, self.parent)
        self.warehouse.roll_back(release)
        self.parent = release_id
        pq.write_table(pa.table({"item_id": items}), self.folder / "catalogue.parquet")
        return release

    @staticmethod
    def table(
        release: ReleaseFolder, name: str, kept: dict[str, list[Any]] | None = None, **columns: list[Any]
    ) -> None:
        """One file of a table; the columns that are not given are null."""
        schema = schemas.as_arrow(getattr(schemas, name.upper()))
        rows = len(next(iter(columns.values())))
        arrays = [pa.array(columns.get(one.name, [None] * rows), one.type) for one in schema]
        found = pa.Table.from_arrays(arrays, schema=schema)
        for column, values in (kept or {}).items():
            found = found.append_column(column, pa.array(values))
        (release.root / name).mkdir(parents=True)
        pq.write_table(found, release.root / name / "part-0.parquet", store_schema=False)

    def run(self, words: str, *more: str) -> str:
        """What `lookalike releases WORDS` prints, when it ends well."""
        code, text = self.outcome(words, *more)
        assert code == 0, text
        return text

    def refusal(self, words: str, *more: str) -> str:
        """The one line with which it ends with 1."""
        code, text = self.outcome(words, *more)
        assert code == 1, text
        return text.strip().splitlines()[-1]

    def outcome(self, words: str, *more: str) -> tuple[int, str]:
        file = self.folder / "shop.yaml"
        file.write_text(yaml.safe_dump(self._raw(), allow_unicode=True), encoding="utf-8")
        done = CliRunner().invoke(app, ["releases", *words.split(), "--config", str(file), *more])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.output
