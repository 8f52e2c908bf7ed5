"""A release in SQL: views, the metastore that keeps them, and queries to copy."""
