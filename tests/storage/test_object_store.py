"""Pictures in object stores: from an S3 server on the loopback, and the error messages of the other stores."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import fs

from lookalike import config
from lookalike.errors import WarehouseError
from lookalike.failures import ImageError
from lookalike.storage import object_store, outage, prefetch, prefix
from lookalike.storage.image_reader import ImageReader
from support.raw_server import keep_silent, sending, serving


@pytest.fixture(scope="module")
def pictures(endpoint: str) -> str:
    """Fill a bucket with a few objects; give its endpoint."""
    store = fs.S3FileSystem(endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True)
    store.create_dir("shop")
    for key, data in {"a.jpg": b"12345", "x/50%20off #1?.jpg": b"odd", "x/été.jpg": b"accents", "empty": b""}.items():
        with store.open_output_stream(f"shop/{key}") as file:
            file.write(data)
    return endpoint


def reader(endpoint: str, root: str = "", **limits: object) -> ImageReader:
    limited = config.ImageSettings.model_validate({"retries": 0, **limits})
    return ImageReader(limited, config.StoreSettings(s3_endpoint=endpoint, s3_region="us-east-1"), root)


def reason_of(call: Callable[..., object], *args: object) -> str:
    with pytest.raises(ImageError) as refused:
        call(*args)
    assert len(refused.value.detail.splitlines()) == 1
    return refused.value.reason


@pytest.mark.parametrize(
    ("uri", "content"),
    [
        ("s3://shop/a.jpg", b"12345"),
        ("s3a://shop/a.jpg", b"12345"),
        ("s3://shop/x/50%20off #1?.jpg", b"odd"),
        ("s3://shop/x/été.jpg", b"accents"),
    ],
)
def test_bytes_of_an_object(pictures: str, uri: str, content: bytes) -> None:
    assert reader(pictures).read(uri) == content
    assert reader(pictures, root="s3://shop").read(uri.partition("shop/")[2]) == content


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("s3://shop/gone.jpg", "not_found"),
        ("s3://no-such-bucket/a.jpg", "not_found"),
        ("s3://shop/x", "not_found"),
        ("s3://shop/", "not_found"),
        ("s3://shop", "not_found"),
        ("s3://shop/../a.jpg", "bad_uri"),
        ("s3://key:secret@shop/a.jpg", "bad_uri"),
    ],
)
def test_missing_object_has_a_reason(pictures: str, uri: str, reason: str) -> None:
    assert reason_of(reader(pictures).read, uri) == reason
    assert reason_of(reader(pictures).version, uri) == reason


def test_object_without_bytes_is_empty(pictures: str) -> None:
    assert reason_of(reader(pictures).read, "s3://shop/empty") == "empty"


@pytest.mark.parametrize(("most", "fits"), [(4, False), (5, True)])
def test_object_is_too_large_from_one_byte_over_the_limit(pictures: str, most: int, fits: bool) -> None:
    limited = reader(pictures, max_bytes=most)
    if fits:
        assert limited.read("s3://shop/a.jpg") == b"12345"
    else:
        assert reason_of(limited.read, "s3://shop/a.jpg") == "too_large"


def test_version_is_that_of_the_object_and_stays(pictures: str) -> None:
    found = reader(pictures).version("s3://shop/a.jpg")
    assert found
    assert found.startswith("5-")
    assert reader(pictures).version("s3a://shop/a.jpg") == found
    assert reader(pictures).version("s3://shop/x/été.jpg") != found


def test_many_objects_come_in_order_with_files_among_them(pictures: str, tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(b"local")
    paths = ["s3://shop/a.jpg", str(tmp_path / "b.jpg"), "s3://shop/gone.jpg"] * 7
    found = list(prefetch.fetch_ahead(reader(pictures).read, paths, 8, len))
    assert [one.reason if isinstance(one, ImageError) else one for one in found] == [
        b"12345",
        b"local",
        "not_found",
    ] * 7


STORES = {
    "s3": "s3://shop/{}",
    "gs": "gs://shop/{}",
    "abfs": "abfss://photos@shop.dfs.core.windows.net/{}",
}


def at(port: int, monkeypatch: pytest.MonkeyPatch, **limits: float) -> ImageReader:
    """Return a reader for which every store is the server on a port of the loopback."""
    monkeypatch.setenv("AZURE_STORAGE_KEY", "c2VjcmV0")
    monkeypatch.setattr(outage, "PATIENCE", 0.0)  # another server has answered for a bucket of that name
    url = f"http://127.0.0.1:{port}"
    stores = config.StoreSettings(
        s3_endpoint=url, s3_region="us-east-1", gs_endpoint=url, gs_anonymous=True, azure_endpoint=url
    )
    return ImageReader(config.ImageSettings.model_validate({"retries": 0, **limits}), stores)


def status(line: str) -> bytes:
    return f"HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("scheme", "answer", "reason"),
    [
        *(
            (scheme, status(line), reason)
            for scheme in STORES
            for line, reason in {
                "400 Bad Request": "server_error",
                "401 Unauthorized": "forbidden",
                "403 Forbidden": "forbidden",
                "404 Not Found": "not_found",
                "409 Conflict": "server_error",
            }.items()
        ),
        ("s3", status("500 Oh No"), "server_error"),  # the others' libraries try it again for seconds
        ("s3", status("503 Slow Down"), "server_error"),
        ("s3", b"no HTTP at all\r\n\r\n", "server_error"),
    ],
)
@pytest.mark.parametrize("key", ["x.jpg", "404 not found/403 AccessDenied: timeout 28.jpg", "Azure Error: [] 404.jpg"])
def test_reason_is_that_of_the_code_whatever_the_key_says(
    endpoint: str, scheme: str, answer: bytes, reason: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(lambda _: sending(answer)) as port:
        assert reason_of(at(port, monkeypatch).read, STORES[scheme].format(key)) == reason


@pytest.mark.parametrize("scheme", STORES)
def test_store_that_never_answers_is_a_time_out_of_the_whole_try(
    endpoint: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.monotonic()
    with serving(lambda _: keep_silent) as port:
        slow = at(port, monkeypatch, read_timeout=0.3)
        assert reason_of(slow.read, STORES[scheme].format("a.jpg")) == "timeout"
        assert reason_of(slow.version, STORES[scheme].format("a.jpg")) == "timeout"
        monkeypatch.setattr(prefix, "FILE_SECONDS", 0.3)  # the warehouse's own files
        # Arrow makes no client of S3 while a request of another is under way.
        monkeypatch.setattr(object_store, "FILE_TIMEOUTS", (0.3, 0.3))
        monkeypatch.setattr(object_store, "FILE_TRIES", 1)
        files = prefix.Prefix(STORES[scheme].format("wh"), slow.stores)
        for request in (files.objects, lambda: files.read("CURRENT"), lambda: files.write("CURRENT", b"x")):
            with pytest.raises(WarehouseError, match="no answer after"):
                request()
    assert time.monotonic() - started < 10


def test_store_that_does_not_accept_is_a_time_out(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0), backlog=1)) as deaf:
        slow = at(deaf.getsockname()[1], monkeypatch, read_timeout=0.3)
        for form in STORES.values():
            assert reason_of(slow.read, form.format("a.jpg")) == "timeout"


def test_store_that_is_not_there_is_a_server_error(endpoint: str) -> None:
    assert reason_of(reader("http://127.0.0.1:1", connect_timeout=1).read, "s3://shop/a.jpg") == "server_error"


def test_every_scheme_has_its_store(monkeypatch: pytest.MonkeyPatch) -> None:
    stores = config.StoreSettings(
        gs_anonymous=True, gs_endpoint="http://127.0.0.1:1", azure_endpoint="http://127.0.0.1:2"
    )
    google = ImageReader(stores=stores).location("gs://bucket/a.jpg")
    assert isinstance(object_store._picture_store(google, config.ImageSettings(), stores), fs.GcsFileSystem)
    monkeypatch.setenv("AZURE_STORAGE_KEY", "c2VjcmV0")
    location = ImageReader(stores=stores).location("abfss://photos@shop.dfs.core.windows.net/x/a.jpg")
    assert isinstance(object_store._picture_store(location, config.ImageSettings(), stores), fs.AzureFileSystem)
    assert object_store.key(location) == "photos/x/a.jpg"
    hadoop = ImageReader(root="hdfs://node:8020/").location("hdfs://node:8020/x/a.jpg")
    assert object_store.key(hadoop) == "/x/a.jpg"


@pytest.mark.skipif("HADOOP_HOME" in os.environ, reason="there is a Hadoop here, and it may answer")
def test_hdfs_without_hadoop_says_what_to_install() -> None:
    for _ in range(2):  # the second time, the library says it in other words
        with pytest.raises(ImageError, match="no Hadoop client") as refused:
            ImageReader(config.ImageSettings(retries=0)).read("hdfs:///a.jpg")
        assert refused.value.reason == "forbidden"
        assert len(refused.value.detail) < 200


@pytest.mark.parametrize(
    ("key", "words"), [(None, "set AZURE_STORAGE_KEY"), ("no base64!", "AZURE_STORAGE_KEY is not")]
)
def test_azure_without_credentials_is_forbidden_and_ends_no_process(
    key: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_KEY", raising=False)
    if key:
        monkeypatch.setenv("AZURE_STORAGE_KEY", key)
    stores = config.StoreSettings(azure_endpoint="http://127.0.0.1:1")  # which no identity is sent to without TLS
    with pytest.raises(ImageError, match=words) as refused:
        ImageReader(config.ImageSettings(retries=0), stores).read("abfs://c@shop/a.jpg")
    assert refused.value.reason == "forbidden"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("AWS Error ACCESS_DENIED during HeadObject operation: No response body.", "forbidden"),
        ("AWS Error UNKNOWN (HTTP status 403) during HeadObject operation: 404 no such key", "forbidden"),
        ("AWS Error NO_SUCH_BUCKET during ListObjectsV2 operation: Access Denied", "not_found"),
        ("AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 28, Timeout was reached", "timeout"),
        ("AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7, Couldn't connect", "server_error"),
        ("AWS Error SLOW_DOWN during GetObject operation: Please reduce your request rate: timeout", "server_error"),
        ("AWS Error NO_SUCH_UPLOAD (HTTP status 404) during CompleteMultipartUpload operation: no", "server_error"),
        ("google::cloud::Status(NOT_FOUND: No such object)", "not_found"),
        ("google::cloud::Status(PERMISSION_DENIED: caller lacks storage.objects.get)", "forbidden"),
        ("google::cloud::Status(UNKNOWN: error, with a last message of Received HTTP status code: 404 x)", "not_found"),
        ("google::cloud::Status(DEADLINE_EXCEEDED: not found)", "timeout"),
        ("GetProperties failed for 'x'. Azure Error: [BlobNotFound] 404 The specified blob", "not_found"),
        ("GetProperties failed for 'x'. Azure Error: [AuthorizationFailure] 403 timeout", "forbidden"),
        ("GetProperties failed for 'x'. Azure Error: [] Fail to get a new connection, not found", "server_error"),
        ("404 not found, 403 forbidden, timed out", "server_error"),
        ("Not a regular file: 'shop'", "not_found"),
        ("", "server_error"),
    ],
)
def test_messages_of_the_stores_are_understood_by_their_codes(text: str, reason: str) -> None:
    def fail() -> None:
        with object_store.as_image_errors():
            raise OSError(text)

    assert reason_of(fail) == reason


def test_refused_token_of_a_store_is_no_bad_uri() -> None:
    def fail() -> None:
        with object_store.as_image_errors():
            raise ValueError("google::cloud::Status(INVALID_ARGUMENT: invalid_grant)")

    assert reason_of(fail) == "server_error"
