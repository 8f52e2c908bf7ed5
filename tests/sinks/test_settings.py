"""What of publish.* is refused before anything is done: by the settings themselves."""

from __future__ import annotations

from typing import Any

import pytest

from lookalike import config


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"iceberg": {"token": "abc"}}, "PYICEBERG_CATALOG__LOOKALIKE__TOKEN"),
        ({"iceberg": {"s3.secret-access-key": "a"}}, "PYICEBERG_CATALOG__LOOKALIKE__S3__SECRET_ACCESS_KEY"),
        ({"iceberg": {"header.authorization": "Bearer abc"}}, "in the environment"),
        ({"iceberg": {"uri": "postgresql://u:secret@h/d"}}, "password"),
        ({"iceberg": {"namespace": "../../elsewhere"}}, "letters, digits and _"),
        ({"iceberg": {"namespace": "a.b"}}, "letters, digits and _"),
        ({"iceberg": "rest"}, "valid dictionary"),
        ({"iceberg": {"uri": ["a"]}}, "valid string"),
        ({"metrics": "/var/lib/shop.txt"}, r"end in \.prom"),
        ({"metrics": "s3://bucket/shop.prom"}, r"end in \.prom"),
        ({"openlineage": "s3://bucket/events"}, "neither an http"),
        ({"openlineage": "https://u:secret@host"}, "password"),
    ],
)
def test_setting_that_cannot_be_is_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        config.PublishSettings.model_validate(given)


def test_plain_values_of_the_catalog_are_texts() -> None:
    given = {"iceberg": {"type": "rest", "rest.sigv4-enabled": True, "s3.connect-timeout": 5}}
    found = config.PublishSettings.model_validate(given).iceberg
    assert found == {"type": "rest", "rest.sigv4-enabled": "true", "s3.connect-timeout": "5"}
