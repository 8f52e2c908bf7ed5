"""The Annoy index: its shards, their manifest, and the step that builds them."""
