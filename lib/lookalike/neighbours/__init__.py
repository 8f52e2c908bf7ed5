"""The neighbours step on Spark: constraints, duplicates, plans, and lists that are updated in place."""
