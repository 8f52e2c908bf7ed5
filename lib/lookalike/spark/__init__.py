"""Spark for all steps: schemas, Parquet files, tasks, transfers."""
