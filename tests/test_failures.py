"""The error of a picture: its reason, and one line without secrets and without addresses of this process."""

from __future__ import annotations

import io
import socket

import pytest
from PIL import Image
from pyarrow import fs

from lookalike.failures import ImageError


@pytest.mark.parametrize("one", [object(), io.BytesIO(), fs.LocalFileSystem(), Image.new("L", (1, 1)), socket.socket])
def test_detail_names_an_object_without_its_address(one: object) -> None:
    detail = ImageError("server_error", f"no answer from {one!r}\n(again)").detail
    assert detail.startswith("no answer from ")
    assert detail.endswith(" (again)")
    assert "0x" not in detail
