"""Tables whose files are in a store: the same rows and places as Spark reads of a disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import fs
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import IntegerType, StructField, StructType

from lookalike import config
from lookalike.embedding import stored_vectors
from lookalike.spark import arrow_files, parquet
from lookalike.storage.prefix import Prefix
from lookalike.warehouse.shared_files import ON_DISK, InStore
from support import staging

PLACED = ("item_id", "price", "embedding", "_metadata.file_name", "_metadata.row_index")


class Table:
    """A table of two files on the disk, and the same as objects."""

    def __init__(self, spark: SparkSession, objects: Prefix, folder: Path) -> None:
        price = F.expr("CAST(id / 4 AS decimal(9, 2))")
        rows = spark.range(9, numPartitions=2).select(F.concat(F.lit("i"), "id").alias("item_id"), price.alias("price"))
        with_vector = rows.withColumn("embedding", F.array(F.substring("item_id", 2, 1).cast("float")))
        self.spark, self.schema, self.objects = spark, with_vector.schema, objects
        self.files = staging.write_table(with_vector, folder / "table")
        machine = folder / "50% %41 ö"
        self.shared = InStore(objects, machine, machine, 1 << 30)
        self.paths = [machine / "table" / path.name for path in self.files]
        for path in self.files:
            objects.upload(path, f"table/{path.name}")

    def stored(self, schema: StructType | None = None, damaged: str = "fail") -> DataFrame:
        return parquet.read_placed(self.spark, self.shared, self.paths, schema or self.schema, damaged)

    def on_disk(self, schema: StructType | None = None) -> DataFrame:
        return parquet.read_placed(self.spark, ON_DISK, self.files, schema or self.schema)


@pytest.fixture
def table(spark: SparkSession, endpoint: str, tmp_path: Path, request: pytest.FixtureRequest) -> Table:
    name = f"t{abs(hash(request.node.name)) % 10**9}"
    fs.S3FileSystem(endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True).create_dir(name)
    stores = config.StoreSettings(s3_endpoint=endpoint, s3_region="us-east-1")
    return Table(spark, Prefix(f"s3://{name}/wh", stores), tmp_path)


QUERIES: dict[str, Callable[[DataFrame], DataFrame]] = {
    "all": lambda frame: frame.select(*PLACED),
    "in another order": lambda frame: frame.select(*PLACED).orderBy(F.desc("item_id")).limit(5),
    "some by a join": lambda frame: frame.select(*PLACED).join(frame.where("price > 1").select("item_id"), "item_id"),
}


@pytest.mark.parametrize("query", QUERIES)
def test_rows_and_places_are_those_of_the_files(table: Table, query: str) -> None:
    found, expected = (
        sorted(QUERIES[query](frame).collect(), key=lambda row: str(row["item_id"]))
        for frame in (table.stored(), table.on_disk())
    )
    assert found
    assert found == expected
    named = table.stored().select(*stored_vectors.place()).distinct().collect()
    assert {arrow_files.path_of(row["file"]) for row in named} == set(table.paths)


def test_vectors_are_read_only_where_they_are_asked_for(table: Table) -> None:
    def reads_vectors(frame: DataFrame) -> bool:
        return "read_column" in frame._jdf.queryExecution().optimizedPlan().toString()

    frame = table.stored()
    assert reads_vectors(frame)
    assert not reads_vectors(frame.select("item_id", "price").where("price > 1"))


def test_column_that_files_of_an_older_release_lack_is_null(table: Table) -> None:
    wider = StructType([*table.schema, StructField("width", IntegerType())])
    rows = [row.asDict() for row in table.stored(wider).drop("_metadata").orderBy("item_id").collect()]
    assert rows == [row.asDict() for row in table.on_disk(wider).orderBy("item_id").collect()]
    assert {row["width"] for row in rows} == {None}


def test_object_that_is_damaged_or_gone_is_skipped_as_a_whole_or_ends_the_query(table: Table) -> None:
    first, second = (f"table/{path.name}" for path in table.files)
    for harm in (lambda: table.objects.write(first, b"PAR1 no more"), lambda: table.objects.remove(first)):
        harm()
        rows = table.stored(damaged="skip").select("_metadata.file_name").distinct().collect()
        assert [f"table/{row['file_name']}" for row in rows] == [second]
        with pytest.raises(PySparkException, match=r"cannot be read|it is gone"):
            table.stored().select("item_id").collect()
        for copy in table.paths:
            copy.unlink(missing_ok=True)
