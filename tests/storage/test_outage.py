"""A store that fails among others' answers, or is out for a while; and a disk that fails during a transfer."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from lookalike import config
from lookalike.errors import WarehouseError
from lookalike.failures import ImageError
from lookalike.storage import image_reader, object_store, outage
from lookalike.storage.image_reader import STORE_TRIES, ImageReader
from lookalike.storage.prefix import Prefix
from support.raw_server import Answer, sending, serving

BUSY = OSError("AWS Error SLOW_DOWN during HeadObject operation: Please reduce your request rate.")
LIST = Prefix("s3://shop/wh", config.StoreSettings())


class Store:
    """A store that answers with nothing, after some errors."""

    def __init__(self) -> None:
        self.errors: list[OSError] = []
        self.asked = 0

    def get_file_info(self, _: object) -> list[fs.FileInfo]:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        return []

    def copy_file(self, source: str, _: str) -> None:
        self.get_file_info(source)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "_answered", {})
    monkeypatch.setattr(outage, "_given_up", set())
    monkeypatch.setattr(outage, "PAUSES", (0.0, 0.0))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store()
    monkeypatch.setattr(object_store, "open_store", lambda *_: made)
    return made


def test_store_that_was_there_is_waited_for(store: Store) -> None:
    LIST.objects()
    store.errors = [BUSY] * 9
    assert LIST.objects() == {}
    assert store.asked == 11


def test_store_that_never_answered_is_not_waited_for(store: Store) -> None:
    store.errors = [BUSY] * 9
    with pytest.raises(WarehouseError, match=r"s3://shop/wh: server_error: .*; the store failed in several tries"):
        LIST.objects()
    assert store.asked == 1


def test_patience_ends_for_all_until_there_is_an_answer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    LIST.objects()
    store.errors = [BUSY] * 3
    monkeypatch.setattr(outage, "PATIENCE", 0.0)
    with pytest.raises(WarehouseError):
        LIST.objects()
    monkeypatch.setattr(outage, "PATIENCE", 120.0)
    with pytest.raises(WarehouseError):
        LIST.objects()
    assert store.asked == 3
    with pytest.raises(WarehouseError):
        LIST.objects()
    LIST.objects()
    store.errors = [BUSY]
    LIST.objects()


def test_copy_inside_the_store_is_asked_for_once(store: Store) -> None:
    """Who asks for it sends the bytes then: some stores copy nothing."""
    LIST.objects()
    store.errors = [BUSY] * 2
    with pytest.raises(WarehouseError):
        LIST.copy("a", "b", 1)
    assert len(store.errors) == 1


def test_what_is_no_fault_of_the_store_is_not_tried_again(store: Store) -> None:
    LIST.objects()
    store.errors = [OSError("AWS Error ACCESS_DENIED during ListObjectsV2 operation: no")]
    with pytest.raises(WarehouseError, match="forbidden"):
        LIST.objects()
    assert store.asked == 2


def test_small_object_is_written_by_one_request(endpoint: str) -> None:
    """So an answer that is lost does no harm: the client sends the same once more."""
    asked: list[bytes] = []

    def answer(request: bytes) -> Answer:
        asked.append(request.partition(b" HTTP")[0])
        status = b"100 Continue\r\n\r\nHTTP/1.1 200 OK" if b"100-continue" in request else b"200 OK"
        return sending(b"HTTP/1.1 " + status + b'\r\nETag: "a"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')

    with serving(answer) as port:
        stores = config.StoreSettings(s3_endpoint=f"http://127.0.0.1:{port}", s3_region="us-east-1")
        Prefix("s3://shop/wh", stores).write("CURRENT", b"{}")
    assert asked == [b"PUT /shop/wh/CURRENT"]


@pytest.fixture
def bucket(endpoint: str) -> Prefix:
    store = fs.S3FileSystem(endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True)
    store.create_dir("transfers")
    return Prefix("s3://transfers/wh", config.StoreSettings(s3_endpoint=endpoint, s3_region="us-east-1"))


def fail_after_a_part(source: Any, sink: Any, length: int) -> None:
    sink.write(source.read(length // 2))
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "here")


def test_file_that_cannot_be_read_leaves_no_part_of_it_in_the_store(
    bucket: Prefix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(bytes(3 << 20))
    monkeypatch.setattr(shutil, "copyfileobj", fail_after_a_part)
    with pytest.raises(OSError, match="No space left on device: 'here'"):
        bucket.upload(tmp_path / "a", "a")
    assert bucket.find("a") is None


def test_disk_that_is_full_is_no_fault_of_the_store(
    bucket: Prefix, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.write("a", b"content")
    monkeypatch.setattr(shutil, "copyfileobj", fail_after_a_part)
    with pytest.raises(OSError, match="No space left on device: 'here'"):
        bucket.download("a", tmp_path / "a", 7)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("headers", ["", "Last-Modified: Thu, 26 Nov 2026 10:00:00 GMT\r\n"])
def test_answer_that_ends_in_its_headers_is_about_no_object_of_no_bytes(endpoint: str, headers: str) -> None:
    """Every other answer is whole: an object is asked about twice before it counts as one of no bytes."""
    asked = []

    def answer(request: bytes) -> Answer:
        asked.append(request)
        length = "Content-Length: 5\r\n\r\n" if len(asked) % 2 == 0 else "Content-Le"
        return sending(f"HTTP/1.1 200 OK\r\n{headers}{length}".encode())

    with serving(answer) as port:
        stores = config.StoreSettings(s3_endpoint=f"http://127.0.0.1:{port}", s3_region="us-east-1")
        reader, prefix = ImageReader(config.ImageSettings(retries=0), stores), Prefix("s3://shop/wh", stores)
        with pytest.raises(ImageError, match="server_error: the answer was cut short"):
            reader.read("s3://shop/a.jpg")
        with pytest.raises(WarehouseError, match="server_error: the answer was cut short"):
            prefix.read("CURRENT")
        assert reader.version("s3://shop/a.jpg").startswith("5-")
        found = prefix.find("CURRENT")
        assert found is not None
        assert found.size == 5


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[ImageError]:
    """What the store answers to the next tries to read a picture; the tries after them get it."""
    errors: list[ImageError] = []

    def read(*_: object) -> bytes:
        if errors:
            raise errors.pop(0)
        return b"picture"

    monkeypatch.setattr(image_reader.object_store, "read", read)
    monkeypatch.setattr(image_reader.http, "read", read)
    monkeypatch.setattr("time.sleep", lambda _: None)
    return errors


def test_store_s_error_is_tried_more_often_than_a_server_s(failing: list[ImageError]) -> None:
    outage.note_answer("s3://shop")
    failing += [ImageError("server_error", "500")] * (STORE_TRIES - 1)
    assert ImageReader().read("s3://shop/a.jpg") == b"picture"
    failing += [ImageError("server_error", "500")] * (STORE_TRIES - 1)
    with pytest.raises(ImageError, match="500"):
        ImageReader().read("https://shop.example/a.jpg")


def test_picture_waits_while_its_store_is_out_and_not_while_it_answers_others(
    failing: list[ImageError], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [ImageError("server_error", "503")] * (10 * STORE_TRIES)
    outage.note_answer("s3://shop")
    failing += many
    with pytest.raises(ImageError, match="503"):
        ImageReader().read("s3://shop/a.jpg")
    assert len(failing) == len(many) - STORE_TRIES
    monkeypatch.setattr(outage, "_SILENCE", 0.0)
    monkeypatch.setattr(outage, "_given_up", set())
    assert ImageReader().read("s3://shop/a.jpg") == b"picture"


def test_no_further_tries_are_none(failing: list[ImageError]) -> None:
    failing += [ImageError("server_error", "503")]
    with pytest.raises(ImageError, match="503"):
        ImageReader(config.ImageSettings(retries=0)).read("s3://shop/a.jpg")
