"""Search kernels for nearest neighbours: plain arrays, no Spark."""
