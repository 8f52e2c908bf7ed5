"""What every step needs of Spark: schemas, Parquet files, tasks, transfers."""
