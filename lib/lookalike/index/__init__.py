"""The Annoy index: shards, their manifest, and the step that builds them on Spark."""
