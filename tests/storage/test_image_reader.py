"""The reader of pictures: which locations a catalogue may name, and which errors are retried."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path
from typing import Any

import pytest

from lookalike import config
from lookalike.failures import REASONS, RETRIED, ImageError
from lookalike.storage import local, object_store
from lookalike.storage.image_reader import LONGEST_WAIT, ImageReader


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds between tries; the test does not wait for them."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def failing(monkeypatch: pytest.MonkeyPatch, *errors: ImageError | None) -> list[str]:
    """Let the local reader raise each of `errors` in turn; return the paths that were read."""
    asked: list[str] = []
    coming = iter(errors)

    def read(path: str, _limits: config.ImageSettings) -> bytes:
        asked.append(path)
        if error := next(coming):
            raise error
        return b"bytes"

    monkeypatch.setattr(local, "read", read)
    return asked


def refusal(reader: ImageReader, path: str) -> ImageError:
    with pytest.raises(ImageError) as refused:
        reader.read(path)
    return refused.value


def test_reasons_are_the_closed_list() -> None:
    transient = {"not_found", "forbidden", "timeout", "server_error"}
    permanent = {"too_large", "too_many_pixels", "empty", "not_an_image", "unsupported_format", "truncated", "corrupt"}
    permanent |= {"decoder_crashed", "decode_timeout", "bad_uri", "no_path"}
    assert {name for name, lasts in REASONS.items() if not lasts} == transient
    assert {name for name, lasts in REASONS.items() if lasts} == permanent
    assert transient >= RETRIED


@pytest.mark.parametrize("reason", REASONS)
def test_only_reasons_that_may_pass_soon_are_retried(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float], reason: str
) -> None:
    asked = failing(monkeypatch, ImageError(reason, "no"), ImageError(reason, "no"), None)
    if reason in RETRIED:
        assert ImageReader().read("/a.jpg") == b"bytes"
        assert len(asked) == 3
        assert len(pauses) == 2
    else:
        assert refusal(ImageReader(), "/a.jpg").reason == reason
        assert len(asked) == 1


@pytest.mark.parametrize(("refusals", "asked"), [(0, 1), (1, 2), (2, 2)])
def test_store_that_refuses_is_asked_once_more_without_a_pause(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float], refusals: int, asked: int
) -> None:
    """Its first refusal may teach the client how wrong the clock of this machine is."""
    answers = [ImageError("forbidden", "403")] * refusals + [b"bytes"]
    times = []

    def answer(*_: object) -> bytes:
        times.append(1)
        if isinstance(found := answers.pop(0), ImageError):
            raise found
        return found

    monkeypatch.setattr(object_store, "read", answer)
    if refusals < 2:
        assert ImageReader().read("s3://bucket/a.jpg") == b"bytes"
    else:
        assert refusal(ImageReader(), "s3://bucket/a.jpg").reason == "forbidden"
    assert len(times) == asked
    assert not pauses


@pytest.mark.parametrize("retries", [0, 1, 7])
def test_tries_are_bounded_and_the_last_error_is_the_one(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float], retries: int
) -> None:
    errors = [ImageError("timeout", str(number)) for number in range(9)]
    asked = failing(monkeypatch, *errors)
    assert refusal(ImageReader(config.ImageSettings(retries=retries)), "/a.jpg").detail == str(retries)
    assert len(asked) == 1 + retries
    assert all(0 <= pause <= min(LONGEST_WAIT, 0.25 * 2**number) for number, pause in enumerate(pauses))
    assert len(set(pauses)) == len(pauses)  # jitter


def test_server_s_retry_after_is_kept_and_one_beyond_the_time_out_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    asked = failing(monkeypatch, ImageError("server_error", "429", wait=30), ImageError("server_error", "429", wait=61))
    assert refusal(ImageReader(), "/a.jpg").wait == 61
    assert len(asked) == 2
    assert 30 <= pauses[0] <= 30.25


def test_file_of_no_bytes_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    assert refusal(ImageReader(), str(tmp_path / "a.jpg")).reason == "empty"


def test_reader_can_be_pickled() -> None:
    settings = config.Settings.model_validate(
        {
            "catalogue": {"path": "x", "image_root": "s3://bucket"},
            "warehouse": {"path": "x"},
            "stores": {"s3_region": "eu"},
        }
    )
    reader = pickle.loads(pickle.dumps(ImageReader.of(settings)))
    assert (reader.root, reader.stores.s3_region, reader.limits) == ("s3://bucket", "eu", settings.images)


def outside(path: str, root: str = "", **limits: Any) -> bool:
    """Return whether a reader refuses the path as not allowed."""
    try:
        ImageReader(config.ImageSettings(**limits), root=root).location(path)
    except ImageError as error:
        return error.reason == "bad_uri"
    return False


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("/data/photos/a.jpg", False),
        ("/data/photos/../x/a.jpg", True),
        ("file:///data/photos/%2e%2e/x/a.jpg", True),
        ("file:///data/photos/a.jpg", False),
        ("a.jpg", False),
        ("../a.jpg", True),
        ("x/../../a.jpg", True),
        ("/etc/passwd", True),
        ("https://cdn.shop/public/a.jpg", False),
        ("https://cdn.shop/private/a.jpg", True),
        ("https://cdn.shop/public%2f%2e%2e%2fprivate/a.jpg", True),
        ("https://cdn.shop/public/%252e%252e/private/a.jpg", True),
        ("https://cdn.shop@evil.example/public/a.jpg", True),
        ("http://cdn.shop/public/a.jpg", True),
        ("s3://bucket/a.jpg", True),
    ],
)
def test_only_allowed_roots_are_read(path: str, refused: bool) -> None:
    roots = ("/data/photos", "https://cdn.shop/public/")
    assert outside(path, "/data/photos", allowed_roots=roots) is refused


def test_without_allowed_roots_the_catalogue_may_name_any_location() -> None:
    for path in ("/etc/passwd", "s3://bucket/a.jpg", "http://host/a.jpg", "a.jpg", "/x/../a.jpg"):
        assert not outside(path)
        assert not outside(path, "/data/photos")
    assert outside("../a.jpg", "/data/photos")


@pytest.mark.parametrize("path", ["/etc/passwd", "file:///etc/passwd", "FILE:/etc/passwd", "/"])
def test_local_files_are_not_read_where_the_root_is_a_store(path: str) -> None:
    for root in ("https://cdn.shop/", "s3://bucket", "gs://bucket/x"):
        assert outside(path, root)
        assert not outside(path, root, allowed_roots=("/",))


def test_link_out_of_an_allowed_root_is_refused_and_one_within_is_read(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "a.jpg").write_bytes(b"a")
    (root / "inside.jpg").symlink_to("a.jpg")
    (root / "outside.jpg").symlink_to("../secret")
    reader = ImageReader(config.ImageSettings(allowed_roots=(str(root),)), root=str(root))
    assert reader.read("inside.jpg") == b"a"
    assert refusal(reader, "outside.jpg").reason == "bad_uri"
    assert ImageReader(root=str(root)).read("outside.jpg") == b"secret"  # no allowed_roots


SETTINGS = {
    "catalogue": {"path": "abfs://data@catalogues.dfs.core.windows.net/c", "image_root": "abfs://p@root/x"},
    "warehouse": {"path": "abfss://wh@releases.blob.core.windows.net/"},
    "stores": {"azure_accounts": ["shop", "cn.dfs.core.chinacloudapi.cn"], "hdfs_name_nodes": ["Node:8020"]},
}


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("abfs://c@shop.dfs.core.windows.net/a.jpg", True),
        ("abfss://other@SHOP.blob.core.windows.net/a.jpg", True),
        ("abfs://c@shop/a.jpg", True),
        ("abfs://c@cn.blob.core.chinacloudapi.cn/a.jpg", True),
        ("abfs://c@root.dfs.core.windows.net/a.jpg", True),
        ("abfs://c@catalogues/a.jpg", True),
        ("abfs://c@releases/a.jpg", True),
        ("a.jpg", True),
        ("abfs://c@any.host/a.jpg", False),
        ("abfs://c@127.0.0.1:8080/a.jpg", False),
        ("abfs://c@elsewhere.dfs.core.windows.net/a.jpg", False),
        ("abfs://c@shop.dfs.core.windows.net.evil.example/a.jpg", False),
        ("abfs://c@shop.dfs.core.windows.net:8443/a.jpg", False),
        ("abfs://c@shop.evil.example/a.jpg", False),
        ("abfs://c@evil.example#@shop.dfs.core.windows.net/a.jpg", False),
        ("abfs://c@evil.example?x=@shop.dfs.core.windows.net/a.jpg", False),
        ("abfs://c@shop@evil.example/a.jpg", False),
        ("abfs://c@shop.dfs.core.windows.net?endpoint=evil.example/a.jpg", False),
        ("abfs://c@sh\u200bop/a.jpg", False),
        ("abfs://container/a.jpg", False),
        ("hdfs://node:8020/a.jpg", True),
        ("hdfs:///a.jpg", True),
        ("hdfs://node:8021/a.jpg", False),
        ("hdfs://node/a.jpg", False),
        ("hdfs://user@node:8020/a.jpg", False),
        ("hdfs://node:\u00b2/a.jpg", False),
        ("s3://bucket/k?endpoint_override=evil.example", True),  # which is a key
        ("s3://bucket?endpoint_override=evil.example", False),
        ("s3://bucket?endpoint_override=http://evil.example/a.jpg", False),
        ("s3://bucket#x/a.jpg", False),
        ("s3://evil.example:9000/a.jpg", False),
        ("s3://user@bucket/a.jpg", False),
        ("s3://arn:aws:s3:eu-west-1:123:accesspoint/a.jpg", False),
        ("s3://b%2fucket/a.jpg", False),
        ("gs://anonymous@bucket/a.jpg", False),
        ("gs://bucket:443/a.jpg", False),
        ("gs://bucket?scheme=http&endpoint_override=evil/a.jpg", False),
    ],
)
def test_no_row_names_the_server_that_credentials_are_sent_to(uri: str, allowed: bool) -> None:
    reader = ImageReader.of(config.Settings.model_validate_json(json.dumps(SETTINGS)))
    if allowed:
        assert reader.location(uri)
    else:
        assert refusal(reader, uri).reason == "bad_uri"


def test_accounts_that_the_settings_do_not_name_are_refused_unless_the_endpoint_is_fixed() -> None:
    uri = "abfs://c@shop.dfs.core.windows.net/a.jpg"
    assert "add it to stores.azure_accounts" in refusal(ImageReader(), uri).detail
    assert ImageReader(stores=config.StoreSettings(azure_endpoint="http://azurite:10000")).location(uri)
    assert ImageReader(config.ImageSettings(allowed_roots=(uri,))).location(uri)


def test_detail_holds_no_secret_of_the_path() -> None:
    error = ImageError("server_error", "cannot GET https://user:word@host/a.jpg?X-Amz-Signature=abc")
    assert "word" not in str(error)
    assert "abc" not in error.detail
