"""What pack.sh runs with the Python of each unpacked archive: import all of it, embed a picture, ask an Annoy index.

It prints one object of JSON, which is the same wherever the same packages and the same build of annoy answer.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import pkgutil
import sys
import tempfile
from pathlib import Path

import numpy as np

import lookalike
from lookalike import config
from lookalike.demo.pictures import draw_picture
from lookalike.images.decoder import Decoder
from lookalike.index import annoy
from lookalike.models import runtime
from lookalike.models.compile import find_or_compile

# In no archive: these come with the Spark of the cluster.
SPARK = {"pyspark", "py4j"}

# In the driver's alone.
DRIVER = {
    "attr",
    "deltalake",
    "duckdb",
    "flask",
    "h5py",
    "jinja2",
    "markupsafe",
    "matplotlib",
    "openlineage",
    "pandas",
    "prometheus_client",
    "psycopg",
    "pyiceberg",
    "tensorflow",
    "typer",
    "werkzeug",
    "yaml",
}

SIZE, ITEMS, DIMENSIONS = 64, 500, 48


def main(kind: str) -> None:
    """Check the environment of a `driver` or an `executor`, and print what it answers."""
    import_all(SPARK if kind == "driver" else SPARK | DRIVER)
    with tempfile.TemporaryDirectory() as folder:
        answers = {"index": index(Path(folder)), "vectors": vectors(Path(folder))}
    print(json.dumps({**answers, "version": lookalike.__version__}))


def import_all(absent: set[str]) -> None:
    """Import every module that needs none of the packages that are `absent`."""
    for module in pkgutil.walk_packages(lookalike.__path__, "lookalike."):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in absent:
                raise


def index(folder: Path) -> str:
    """Return the SHA-256 of a small index, after a look whether it gives the distances that its vectors have."""
    items = np.random.default_rng(7).standard_normal((ITEMS, DIMENSIONS)).astype(np.float32)
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    shard = annoy.build(folder / "index.ann", items, trees=10, seed=7)
    annoy.load(folder / "index.ann", shard)
    golden = shard.golden
    cosines = items[list(golden.neighbours)] @ items[golden.position]
    assert golden.neighbours[0] == golden.position
    assert np.allclose(np.square(golden.distances), 2 - 2 * cosines, atol=annoy.GOLDEN_NOISE), golden
    return shard.sha256


def vectors(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of the vector that each engine gives of a picture, which the decoder's process has read."""
    file = io.BytesIO()
    draw_picture("sneaker", "red", "stripes", np.random.default_rng(7)).save(file, "JPEG")
    decoder = Decoder()
    pixels = decoder.decode(file.getvalue(), SIZE, config.ImageSettings()).pixels
    decoder.close()
    found = {}
    for engine in ("litert", "openvino"):
        settings = config.ModelSettings(weights="bundled", precision="float32", input_size=SIZE, engine=engine)
        model = find_or_compile(settings, folder, lambda _: pixels[None])
        found[engine] = runtime.load(engine, model.artefact).embed(pixels[None])[0]
    cosine = found["litert"] @ found["openvino"] / np.prod([np.linalg.norm(one) for one in found.values()])
    assert cosine > 0.9999, cosine
    return {name: hashlib.sha256(one.tobytes()).hexdigest() for name, one in found.items()}


if __name__ == "__main__":
    main(sys.argv[1])
