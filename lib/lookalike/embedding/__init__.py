"""The embed step: pictures in, vectors and failures out, with checkpoints."""
