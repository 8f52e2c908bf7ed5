"""Lookalike: product pictures in, a table of similar products out."""

__version__ = "0.1.0"
