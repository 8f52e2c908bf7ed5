"""The neighbours step on Spark: constraints, plans, incremental lists and duplicates."""
