"""The network: preprocessing, compilation of its weights, compiled models kept in the warehouse, and engines."""
