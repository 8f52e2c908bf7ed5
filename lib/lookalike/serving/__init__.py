"""A release asked from Python, without Spark."""
