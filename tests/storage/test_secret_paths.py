"""What is said of a picture that cannot be read repeats no secret of its path."""

from __future__ import annotations

import pytest

from lookalike import config
from lookalike.failures import ImageError
from lookalike.redaction import redacted_uri
from lookalike.storage.image_reader import ImageReader
from support.secret_paths import PATHS, SECRET


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
@pytest.mark.parametrize("roots", [(), ("s3://bucket", "/data", "https://127.0.0.1")])
def test_detail_repeats_no_secret_of_its_path(path: str, roots: tuple[str, ...]) -> None:
    reader = ImageReader(config.ImageSettings(retries=0, allowed_roots=roots), root="/data/none")
    for call in (reader.read, reader.version):
        with pytest.raises(ImageError) as refused:
            call(path)
        assert SECRET not in refused.value.detail
        assert refused.value.detail.isprintable()
    assert SECRET not in redacted_uri(path)
