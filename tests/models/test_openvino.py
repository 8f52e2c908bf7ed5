"""The second engine gives the first one's vectors."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.models import runtime
from lookalike.models.network import CompiledModel
from lookalike.topk.items import unit_length
from support import tiny_model


@pytest.mark.parametrize("pictures", [0, 1, 8, 9, 30])
def test_openvino_agrees_with_litert_on_any_number_of_pictures(pictures: int) -> None:
    artefact = tiny_model.artefact()
    pixels = tiny_model.random_pixels(pictures)
    litert, openvino = (runtime.load(name, artefact) for name in ("litert", "openvino"))
    assert (openvino.batch_size, openvino.input_size, openvino.dimensions) == (
        litert.batch_size,
        litert.input_size,
        litert.dimensions,
    )
    np.testing.assert_allclose(openvino.embed(pixels), litert.embed(pixels), rtol=1e-4, atol=1e-2)


def test_engines_agree_on_the_int8_resnet(model: CompiledModel) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (11, 112, 112, 3), dtype=np.uint8)
    one, other = (unit_length(runtime.load(name, model.artefact).embed(pixels))[0] for name in ("litert", "openvino"))
    assert np.einsum("ij,ij->i", one, other).min() > 0.995


def test_short_batches_do_not_leak_into_each_other() -> None:
    engine = runtime.load("openvino", tiny_model.artefact())
    pixels = tiny_model.random_pixels(8)
    whole = engine.embed(pixels)
    np.testing.assert_array_equal(engine.embed(pixels[3:5]), whole[3:5])
