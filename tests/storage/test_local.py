"""Local pictures: the bytes of regular files, or a reason, and a worker never hangs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lookalike import config
from lookalike.failures import REASONS, ImageError
from lookalike.storage import local
from lookalike.storage.image_reader import ImageReader

READER = ImageReader()


def reason_of(call: Callable[..., object], *args: object) -> str:
    """Return the reason why `call` fails, after a check that its detail is one line."""
    with pytest.raises(ImageError) as refused:
        call(*args)
    error = refused.value
    assert error.permanent is REASONS[error.reason]
    assert len(error.detail.splitlines()) == 1
    return error.reason


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write files of every difficult kind."""
    (tmp_path / "a b.jpg").write_bytes(b"spaced")
    (tmp_path / "50%20off.jpg").write_bytes(b"percent")
    (tmp_path / "item#1?.jpg").write_bytes(b"signs")
    (tmp_path / "été.jpg").write_bytes(b"accents")
    (tmp_path / "two\nlines.jpg").write_bytes(b"newline")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "five.jpg").write_bytes(b"12345")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "dangling.jpg").symlink_to("gone.jpg")
    (tmp_path / "link.jpg").symlink_to("five.jpg")
    os.mkfifo(tmp_path / "fifo.jpg")
    return tmp_path


@pytest.mark.parametrize(
    ("uri", "content"),
    [
        ("{}/five.jpg", b"12345"),
        ("{}/link.jpg", b"12345"),
        ("{}/./x/../five.jpg", None),
        ("{}/a b.jpg", b"spaced"),
        ("{}/50%20off.jpg", b"percent"),
        ("{}/item#1?.jpg", b"signs"),
        ("{}/été.jpg", b"accents"),
        ("{}/two\nlines.jpg", b"newline"),
        ("file://{}/a%20b.jpg", b"spaced"),
        ("file:{}/a%20b.jpg", b"spaced"),
        ("FILE://{}/a%20b.jpg", b"spaced"),
        ("file://localhost{}/a%20b.jpg", b"spaced"),
        ("file://{}/50%2520off.jpg", b"percent"),
        ("file://{}/item%231%3F.jpg", b"signs"),
        ("file://{}/%C3%A9t%C3%A9.jpg", b"accents"),
    ],
)
def test_bytes_of_a_path_or_a_file_uri(folder: Path, uri: str, content: bytes | None) -> None:
    if content is None:
        assert reason_of(READER.read, uri.format(folder)) == "not_found"
    else:
        assert READER.read(uri.format(folder)) == content


UNREADABLE = [
    ("{}/gone.jpg", "not_found"),
    ("file://{}/gone.jpg", "not_found"),
    ("{}/dangling.jpg", "not_found"),
    ("{}/five.jpg/deeper.jpg", "not_found"),
    ("{}", "not_found"),
    ("{}/", "not_found"),
    ("{}/fifo.jpg", "not_found"),
    ("/dev/zero", "not_found"),
    ("file:", "not_found"),
    ("{}/empty.jpg", "empty"),
    ("{}/loop.jpg", "bad_uri"),
    ("{}/nul\0.jpg", "bad_uri"),
    ("file://{}/nul%00.jpg", "bad_uri"),
    ("{}/\ud800.jpg", "bad_uri"),
    ("{}/" + 300 * "x", "bad_uri"),
    ("{}/" + 5000 * "x/", "bad_uri"),
    ("file://elsewhere{}/five.jpg", "bad_uri"),
    ("ftp://example.com/five.jpg", "bad_uri"),
    ("http://[five.jpg", "bad_uri"),
    ("", "no_path"),
    (" \t", "no_path"),
]


@pytest.mark.parametrize(("uri", "reason"), UNREADABLE)
def test_file_that_cannot_be_read_has_a_reason(folder: Path, uri: str, reason: str) -> None:
    assert reason_of(READER.read, uri.format(folder)) == reason


@pytest.mark.parametrize(("uri", "reason"), [case for case in UNREADABLE if case[1] != "empty"])
def test_version_of_it_has_the_same_reason(folder: Path, uri: str, reason: str) -> None:
    assert reason_of(READER.version, uri.format(folder)) == reason


@pytest.mark.parametrize("uri", ["{}/a b.jpg", "file://{}/a%20b.jpg", "FILE:{}/a%20b.jpg"])
def test_version_is_the_size_and_the_nanosecond_of_the_last_change(folder: Path, uri: str) -> None:
    os.utime(folder / "a b.jpg", ns=(0, 1_700_000_000_123_456_789))
    assert READER.version(uri.format(folder)) == "6-1700000000123456789"


def test_version_of_a_link_is_that_of_what_it_points_to(folder: Path) -> None:
    assert READER.version(str(folder / "link.jpg")) == READER.version(str(folder / "five.jpg"))


def test_version_changes_with_the_time_alone_and_with_the_size_alone(folder: Path) -> None:
    path = folder / "five.jpg"
    versions = []
    for data, time in ((b"12345", 1), (b"12345", 2), (b"123456", 2)):
        path.write_bytes(data)
        os.utime(path, ns=(time, time))
        versions.append(READER.version(str(path)))
    assert versions == ["5-1", "5-2", "6-2"]


def test_version_reads_no_byte_of_the_picture(folder: Path) -> None:
    assert READER.version(str(folder / "empty.jpg")).startswith("0-")
    with (folder / "sparse.jpg").open("wb") as file:
        file.truncate(1 << 40)
    assert READER.version(str(folder / "sparse.jpg")).startswith(f"{1 << 40}-")
    (folder / "five.jpg").chmod(0)
    assert READER.version(str(folder / "five.jpg")).startswith("5-")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_may_be_retried(folder: Path) -> None:
    (folder / "five.jpg").chmod(0)
    assert reason_of(READER.read, str(folder / "five.jpg")) == "forbidden"
    assert not REASONS["forbidden"]


@pytest.mark.parametrize(("most", "fits"), [(4, False), (5, True), (6, True)])
def test_file_is_too_large_from_one_byte_over_the_limit(folder: Path, most: int, fits: bool) -> None:
    limits = config.ImageSettings(max_bytes=most)
    if fits:
        assert ImageReader(limits).read(str(folder / "five.jpg")) == b"12345"
    else:
        assert reason_of(ImageReader(limits).read, str(folder / "five.jpg")) == "too_large"


def test_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(1 << 40)
    assert reason_of(READER.read, str(tmp_path / "sparse.jpg")) == "too_large"


@pytest.mark.parametrize("name", ["a#b.jpg", "50%20off.jpg", "what?.jpg", "two\nlines.jpg"])
def test_odd_names_below_a_file_uri_root_are_read_whole(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this one")
    (tmp_path / "a").write_bytes(b"another")
    assert ImageReader(root=f"file://{tmp_path}").read(name) == b"this one"


def test_fifo_that_replaces_a_file_is_not_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = os.stat(folder / "five.jpg")
    monkeypatch.setattr(local, "_status", lambda *_: sound)
    assert reason_of(READER.read, str(folder / "fifo.jpg")) == "not_found"


@pytest.fixture
def rooted(tmp_path: Path) -> Path:
    """A root with links to itself and out of it, and secrets around it."""
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    for folder, content in (
        (root, b"in"),
        (root / "inner", b"in"),
        (tmp_path, b"out"),
        (tmp_path / "elsewhere", b"out"),
    ):
        (folder / "a.jpg").write_bytes(content)
    (tmp_path / "elsewhere" / "only.jpg").write_bytes(b"out")
    (root / "out").symlink_to(tmp_path / "elsewhere")
    (root / "deep").symlink_to(tmp_path / "elsewhere" / "deep")
    (root / "in").symlink_to("inner")
    (root / "leads.jpg").symlink_to(tmp_path / "a.jpg")
    (root / "hard.jpg").hardlink_to(root / "a.jpg")
    (tmp_path / "alias").symlink_to(root)
    return root


@pytest.mark.parametrize("form", ["{}", "file:{}", "file://{}"])
@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("root/a.jpg", b"in"),
        ("root/hard.jpg", b"in"),
        ("root/inner/../a.jpg", b"in"),
        ("root/in/a.jpg", b"in"),
        ("root/in/../a.jpg", b"in"),
        ("root/./inner//a.jpg", b"in"),
        ("alias/a.jpg", b"in"),
        ("root/a.jpg/", "not_found"),
        ("root/a.jpg/.", "not_found"),
        ("root/a.jpg/x", "not_found"),
        ("root/none/a.jpg", "not_found"),
        ("root", "not_found"),
        ("root/" + 300 * "x", "bad_uri"),
        ("root/" + 500_000 * "x/", "bad_uri"),  # to follow its links part by part takes hours
        ("root/../a.jpg", "bad_uri"),
        ("root/out/a.jpg", "bad_uri"),
        ("root/out/none.jpg", "bad_uri"),
        ("root/deep/../a.jpg", "bad_uri"),
        ("root/leads.jpg", "bad_uri"),
        ("root-old/a.jpg", "bad_uri"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_nothing_leads_out_of_an_allowed_root(rooted: Path, form: str, path: str, end: bytes | str) -> None:
    reader, uri = ImageReader(config.ImageSettings(allowed_roots=(str(rooted),))), form.format(rooted.parent / path)
    if path.endswith(("/", "/.")):  # Path drops them
        uri = form.format(f"{rooted.parent}/{path}")
    if isinstance(end, bytes):
        assert reader.read(uri) == end
        assert reader.version(uri).startswith(f"{len(end)}-")
    else:
        assert (reason_of(reader.read, uri), reason_of(reader.version, uri)) == (end, end)


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("in/../a.jpg", b"in"),
        ("out/a.jpg", b"out"),  # a link that the shop has put there
        ("deep/../a.jpg", "bad_uri"),
        ("deep/../only.jpg", "bad_uri"),
        ("out/../a.jpg", "bad_uri"),
    ],
)
@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_dots_behind_a_link_do_not_leave_the_image_root(rooted: Path, form: str, path: str, end: bytes | str) -> None:
    reader = ImageReader(root=form.format(rooted))
    for call in (reader.read, reader.version):
        found = call(path) if isinstance(end, bytes) else reason_of(call, path)
        assert found == end or found.startswith(f"{len(end)}-")


@pytest.mark.parametrize("swapped", ["a.jpg", "inner"])
def test_link_that_is_put_in_after_the_check_is_not_followed(
    rooted: Path, swapped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = ImageReader(config.ImageSettings(allowed_roots=(str(rooted),)))
    path = str(rooted / ("inner/a.jpg" if swapped == "inner" else "a.jpg"))
    reader.read(path)
    checked = local.real_path

    def swap_after(given: str) -> str:
        found = checked(given)
        if not (rooted / swapped).is_symlink():
            (rooted / swapped).rename(rooted / f"{swapped}.old")
            (rooted / swapped).symlink_to(rooted.parent / ("elsewhere" if swapped == "inner" else "a.jpg"))
        return found

    monkeypatch.setattr(local, "real_path", swap_after)
    assert reason_of(reader.read, path) == "not_found"
    monkeypatch.undo()
    assert reason_of(reader.read, path) == "bad_uri"


def test_links_of_a_root_are_followed_once(rooted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[str] = []
    checked = local.real_path
    monkeypatch.setattr(local, "real_path", lambda path: followed.append(path) or checked(path))
    reader = ImageReader(config.ImageSettings(allowed_roots=(str(rooted), str(rooted.parent / "x"))))
    for _ in range(3):
        reader.read(str(rooted / "a.jpg"))
    assert [followed.count(path) for path in (str(rooted), str(rooted / "a.jpg"))] == [1, 3]


@pytest.mark.parametrize("path", ["/proc/self/environ", "/proc/kmsg", "/proc/self/mem", "/sys/kernel/mm/hugepages"])
def test_file_that_the_kernel_makes_is_not_read(path: str) -> None:
    assert reason_of(READER.read, path) in ("not_found", "forbidden")


def test_file_that_grows_while_it_is_read_is_still_bounded(tmp_path: Path) -> None:
    limits, pieces = config.ImageSettings(max_bytes=3 << 20), iter([b"x" * (1 << 20)] * 9)
    assert reason_of(local.read_limited, lambda most: next(pieces)[:most], limits, 10) == "too_large"
    assert len(list(pieces)) == 5


def test_source_of_single_bytes_runs_out_of_time() -> None:
    pause = threading.Event()

    def drip(_most: int) -> bytes:
        pause.wait(0.02)
        return b"x"

    assert reason_of(local.read_limited, drip, config.ImageSettings(read_timeout=0.1)) == "timeout"


@pytest.mark.parametrize("sizes", [[], [5], [5, 0, 3], [1 << 20, 7]])
def test_reads_are_joined_until_the_first_empty_one(sizes: list[int]) -> None:
    pieces = iter([bytes([n]) * size for n, size in enumerate(sizes)] + [b""])
    whole = b"".join(bytes([n]) * size for n, size in enumerate(sizes[: sizes.index(0)] if 0 in sizes else sizes))
    assert local.read_limited(lambda _most: next(pieces), config.ImageSettings()) == whole
