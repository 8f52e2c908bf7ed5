"""The `lookalike` command, and the doors of spark-submit onto it."""
