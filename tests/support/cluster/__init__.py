"""A Spark standalone cluster of isolated nodes on one machine."""
