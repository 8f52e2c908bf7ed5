"""The workers' inner loop without Spark, one process a core: reading, decoding and the network."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import bare
import contender

from lookalike.embedding.stream import Network, embed_stream
from lookalike.models.runtime import Engine
from lookalike.storage.image_reader import ImageReader


def from_files(_task: contender.Task, files: list[Path], engine: Engine) -> bare.Work:
    """Files -> unit vectors."""
    uris = [str(path) for path in files]
    network = Network(engine.input_size, lambda: engine)
    return lambda: sum(len(chunk.outcomes) for chunk in embed_stream(uris, network, ImageReader()))


if __name__ == "__main__":
    contender.main(partial(bare.measure, ready=from_files))
