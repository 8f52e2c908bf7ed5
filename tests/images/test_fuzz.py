"""Whatever bytes arrive end as pixels or as a reason: in bounded memory, and with nothing said on the terminal."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lookalike.images.decoder import Decoder
from support import fuzz

CASES = 2000
# The process's own 45 MB, a picture of images.max_decoded_bytes, and as much again.
MOST_MEMORY = (45 << 20) + 2 * fuzz.LIMITS.max_decoded_bytes


def high_water_mark(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def test_damaged_pictures_end_as_pixels_or_reasons_within_their_memory(capfd: pytest.CaptureFixture[str]) -> None:
    decoder = Decoder()
    ends = fuzz.run(decoder, 20, CASES)
    assert decoder._process
    peak = high_water_mark(decoder._process.pid) if sys.platform == "linux" else 0
    decoder.close()
    assert ends.total() == CASES
    assert {"picture", "truncated", "corrupt", "not_an_image", "too_many_pixels"} <= set(ends)
    assert not {"decoder_crashed", "decode_timeout", "server_error"} & set(ends)
    assert peak < MOST_MEMORY
    assert capfd.readouterr() == ("", "")


def test_cases_are_those_of_their_seed() -> None:
    decoder = Decoder()
    first, again, other = (fuzz.run(decoder, seed, 60) for seed in (1, 1, 2))
    decoder.close()
    assert first == again
    assert first != other
