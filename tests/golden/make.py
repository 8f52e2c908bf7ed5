"""Write the golden warehouse of a version: PYTHONPATH=tests .venv/bin/python tests/golden/make.py [CHECKOUT]

Each version of the package that is published leaves one in tests/golden/<version>, written by its own code, and
tests/e2e/test_golden.py asks the present code to read, refresh and roll back all of them. CHECKOUT is the root of the
version's sources with a .venv of its own; this checkout by default. Until a version is published, its warehouse is
written again whenever the tables or the records change; after that, never.

The catalogue is a dozen drawn pictures, and the job runs on it twice. ResNet50 takes 24 MB compiled: a network of 4 KB
has its place, under the name that the settings ask for. So a test also sees whether the present code finds the model of
an older warehouse; were it compiled again, every user would embed every picture again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lookalike import config, config_file
from lookalike.models import network, resnet50, store, tflite, weights_file
from lookalike.models.compile import recipe_name
from support.shop import Shop, broken

HERE = Path(__file__).parent
SETTINGS = HERE / "settings.yaml"

# The channels of the network, each over squares of 4 x 4 pixels
CHANNELS, SQUARE = 16, 4


def main(checkout: Path) -> None:
    """Write the warehouse of the version that lies in `checkout`."""
    with TemporaryDirectory() as folder:
        golden = Path(folder) / "shop"
        write_golden(golden, checkout)
        version = json.loads((golden / "warehouse/current/release.json").read_text())["lookalike"]
        shutil.rmtree(HERE / version, ignore_errors=True)
        shutil.copytree(golden, HERE / version, symlinks=True)
    print(f"written: {HERE / version}")


def write_golden(folder: Path, checkout: Path) -> None:
    """Write a catalogue, its pictures, and a warehouse of two releases by the code of `checkout`."""
    shop = first_night(folder)
    write_model(folder / "warehouse" / "models")
    models = sorted(path.name for path in (folder / "warehouse" / "models").iterdir())
    run_job(shop, checkout)
    second_night(shop)
    run_job(shop, checkout)
    assert models == sorted(path.name for path in (folder / "warehouse" / "models").iterdir())


def first_night(folder: Path) -> Shop:
    """Return a shop of twelve items: two variants of one product, two items with one picture, a damaged picture."""
    shop = Shop.of(folder, 12)
    for number, item in enumerate(shop.rows):
        shop.rows[item]["price"] = number + 1  # item-00 may not be recommended
    shop.rows["item-03"]["product"] = shop.rows["item-06"]["product"] = "shirt"
    shop.put("item-04", shop.path("item-01").read_bytes())
    shop.put("item-11", broken("truncated"))
    return shop


def second_night(shop: Shop) -> None:
    """One picture has changed, an item has gone, another has come."""
    shop.put("item-05", shop.path("item-08").read_bytes())
    del shop.rows["item-09"]
    shop.add("item-12", 12)
    shop.rows["item-12"]["price"] = 13


def run_job(shop: Shop, checkout: Path) -> None:
    """Run the nightly job of `checkout` in the shop's folder: its records then hold relative paths."""
    shop.write()
    command = [checkout / ".venv/bin/spark-submit", checkout / "jobs/embed.py", "--config", SETTINGS]
    # This checkout's code is not the version's.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, cwd=shop.folder, env=environment, check=True)


def write_model(models: Path) -> None:
    """Write a tiny network as if it were the int8 ResNet50 of the settings."""
    settings = config_file.load(SETTINGS).model
    artefact = tiny_network(network.input_size(settings))
    prepared = network.preprocessing(config.ImageSettings())
    model = network.CompiledModel(
        artefact=artefact,
        model_id=network.model_id(artefact, network.input_size(settings), settings.engine, prepared),
        weights=settings.weights,
        precision=settings.precision,
        engine=settings.engine,
        input_size=network.input_size(settings),
        preprocessing=prepared,
        pictures=settings.calibration_pictures + settings.fidelity_pictures,
        fidelity=None,
        compiled=True,
    )
    store.write(model, models / f"{recipe_name(settings, weights_file.digest(weights_file.BUNDLED))}.json")


def tiny_network(size: int) -> bytes:
    """Return one layer of random squares, averaged over the picture, compiled as the library compiles ResNet50."""
    kernel = np.random.default_rng(7).normal(0, 0.01, (SQUARE, SQUARE, 3, CHANNELS)).astype(np.float32)
    bias = np.zeros(CHANNELS, dtype=np.float32)

    def write(graph: tflite.Graph) -> int:
        return graph.average(graph.convolve(graph.entry, kernel, bias, stride=SQUARE, relu=True))

    return tflite.compile_network(write, (resnet50.BATCH_SIZE, size, size, 3))


if __name__ == "__main__":
    main(Path(*sys.argv[1:]).resolve())
