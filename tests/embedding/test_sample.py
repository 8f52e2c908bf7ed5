"""The pictures on which int8 is calibrated: read many at a time, in a fixed order, within a time for all of them."""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lookalike import config
from lookalike.embedding import sample
from lookalike.errors import ModelError
from support.raw_server import Answer, keep_silent, sending, serving


def settings(**images: Any) -> config.Settings:
    return config.Settings.model_validate(
        {
            "catalogue": {"path": "x"},
            "warehouse": {"path": "x"},
            "model": {"input_size": 32, "calibration_pictures": 8},
            "images": {"allow_private_addresses": True, **images},
        }
    )


def read_sample(paths: list[str | None], chosen: config.Settings, wanted: int) -> np.ndarray:
    """The sample, read in this process."""
    return sample.read_sample(paths, chosen, wanted, lambda some, seconds: sample.read_pictures(some, chosen, seconds))


def png(grey: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (32, 32), grey).save(file, "PNG")
    return file.getvalue()


PICTURES = [png(grey) for grey in range(120)]


def answer(request: bytes) -> Answer:
    """Send a picture as grey as the number in its path; nothing for the dead host's."""
    if request.startswith(b"GET /dead/"):
        return keep_silent
    picture = PICTURES[int(request.split(b"/")[2].split(b".")[0])]
    return sending(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(picture) + picture)


def test_half_of_the_hosts_dead_cost_little_and_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sample, "TRY_SECONDS", 0.3)
    started = time.monotonic()
    with serving(answer) as port:
        paths = [f"http://127.0.0.1:{port}/{'dead' if n % 2 else 'live'}/{n}.png" for n in range(120)]
        found = read_sample([None, *paths], settings(), 60)
    assert [int(picture[0, 0, 0]) for picture in found] == list(range(0, 120, 2))
    assert time.monotonic() - started < 40  # one after the other, with retries: 54 s and pauses
    told = capsys.readouterr().err
    assert "60 pictures read in" in told
    assert "timeout 59, no_path 1" in told


def test_time_for_all_pictures_is_bounded_and_too_few_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "SECONDS", 0.5)
    monkeypatch.setattr(sample, "TRY_SECONDS", 0.3)
    monkeypatch.setattr(sample, "THREADS", 4)
    with serving(answer) as port:
        live = [f"http://127.0.0.1:{port}/live/{n}.png" for n in range(7)]
        dead = [f"http://127.0.0.1:{port}/dead/{n}.png" for n in range(500)]
        started = time.monotonic()
        with pytest.raises(ModelError, match=r"the time for them is over: 7 pictures .*timeout"):
            read_sample([*live, *dead], settings(), 16)
        assert len(read_sample([*live, live[0], *dead], settings(), 16)) == 8  # enough to calibrate
    assert time.monotonic() - started < 25  # all of the dead ones, 37 s


def test_no_picture_is_no_array_of_another_shape() -> None:
    assert read_sample([None, "/nowhere.jpg"], settings(), 4).shape == (0, 32, 32, 3)
    assert np.uint8 == read_sample([], settings(), 4).dtype
