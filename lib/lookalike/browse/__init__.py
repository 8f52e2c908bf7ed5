"""A site to look at the releases of a warehouse: finding items, their neighbours, what is worst, what changed."""
