"""A decoded picture and the names of its bytes and pixels. It needs no Pillow, so any process may import it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lookalike import config

# The fix of a picture without its end: what is missing is grey, or whatever the decoder leaves there.
TRUNCATED = "truncated_accepted"


@dataclass(frozen=True)
class Picture:
    """A decoded picture: `pixels` uint8 [size, size, 3] RGB; `width` and `height` as stored in the file.

    `sideways` says that a quarter turn has put it upright.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    fixes: tuple[str, ...]
    sideways: bool = False


def content_hash(data: bytes) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def pixel_recipe(limits: config.ImageSettings) -> str:
    """Return how decode.py makes pixels of a file, as a part of the model id; see models.network.VERSION."""
    return f"rgb-bilinear-{limits.resize}-{limits.background.lower()}"
