"""Copies of a release for other stores: PostgreSQL, Parquet, JSON Lines; and what changed since another release."""
