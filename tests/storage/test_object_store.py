"""Pictures in object stores: from an S3 server on the loopback, and the error messages of the other stores."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyarrow import fs

from lookalike import config
from lookalike.failures import ImageError
from lookalike.storage import object_store, prefetch
from lookalike.storage.image_reader import ImageReader


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
    found = list(prefetch.read_contents(paths, reader(pictures)))
    assert [one.reason if isinstance(one, ImageError) else one for one in found] == [
        b"12345",
        b"local",
        "not_found",
    ] * 7


@contextlib.contextmanager
def listening(answer: bytes) -> Iterator[str]:
    """Start a server that sends the same answer to every request, or none when the answer is empty."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as door:
        stopped = threading.Event()

        def serve() -> None:
            while not stopped.is_set():
                with contextlib.suppress(OSError):
                    guest, _ = door.accept()
                    guest.recv(1 << 16)
                    if answer:
                        guest.sendall(answer)
                        guest.close()
                    else:
                        held.append(guest)

        held: list[socket.socket] = []
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
        stopped.set()
        for guest in held:
            guest.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "forbidden"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "not_found"),
        (b"HTTP/1.1 500 Oh No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "server_error"),
        (b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "server_error"),
        (b"no HTTP at all\r\n\r\n", "server_error"),
    ],
)
def test_failure_of_a_store_has_its_reason(endpoint: str, answer: bytes, reason: str) -> None:
    with listening(answer) as broken:
        assert reason_of(reader(broken, connect_timeout=2, read_timeout=2).read, "s3://shop/a.jpg") == reason


def test_store_that_never_answers_is_a_time_out(endpoint: str) -> None:
    with listening(b"") as silent:
        assert reason_of(reader(silent, connect_timeout=1, read_timeout=1).read, "s3://shop/a.jpg") == "timeout"


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
    hadoop = ImageReader().location("hdfs://node:8020/x/a.jpg")
    assert object_store.key(hadoop) == "/x/a.jpg"


@pytest.mark.skipif("HADOOP_HOME" in os.environ, reason="there is a Hadoop here, and it may answer")
def test_hdfs_without_hadoop_is_a_reason_and_no_crash() -> None:
    with pytest.raises(ImageError):
        ImageReader(config.ImageSettings(retries=0)).read("hdfs://localhost:1/a.jpg")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("AWS Error ACCESS_DENIED during HeadObject operation: No response body.", "forbidden"),
        ("AWS Error UNKNOWN (HTTP status 403) during HeadObject", "forbidden"),
        ("google::cloud::Status(NOT_FOUND: No such object)", "not_found"),
        ("PERMISSION_DENIED: caller lacks storage.objects.get", "forbidden"),
        ("The specified blob does not exist.", "not_found"),
        ("curlCode: 28, Timeout was reached", "timeout"),
        ("curlCode: 7, Couldn't connect to server", "server_error"),
        ("", "server_error"),
    ],
)
def test_messages_of_the_stores_are_understood(text: str, reason: str) -> None:
    def fail() -> None:
        with object_store.as_image_errors():
            raise OSError(text)

    assert reason_of(fail) == reason
