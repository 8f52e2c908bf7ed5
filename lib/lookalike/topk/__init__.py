"""Unit vectors, tables of the k best neighbours, and the exact search for them. The order is total: score, then id."""
