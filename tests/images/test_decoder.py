"""The decoder's own process: the same pixels, and a picture that crashes or hangs it costs itself alone."""

from __future__ import annotations

import gc
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyspark.sql import SparkSession

from lookalike import config
from lookalike.catalogue import fingerprints
from lookalike.catalogue.delta import compare_to_release
from lookalike.catalogue.read import read_catalogue
from lookalike.embedding.checkpoints import Checkpoints
from lookalike.embedding.step import sample_pictures, write_embeddings
from lookalike.embedding.tables import EmbedRun
from lookalike.errors import DecoderError
from lookalike.failures import ImageError
from lookalike.images import decoder, thumbnails
from lookalike.images.decode import decode
from lookalike.images.decoder import Decoder
from lookalike.models.network import CompiledModel
from lookalike.storage.image_reader import ImageReader
from lookalike.warehouse.local import Warehouse
from support.drawn import Drawn

LIMITS = config.ImageSettings(decode_timeout=30)  # a guard against hanging
SIZE = 32

Settings = Callable[..., config.Settings]

# A decoder with native defects: what Python imports first when it starts. It stands in for a library's, which no
# picture known to us has in the versions that are installed.
DEFECTS = """
import ctypes, os, signal, sys, time
from pathlib import Path
ANSWERS = [
    b"{}", b"[]", b"null", b'{"kept": "much"}', b'{"kept": 0, "reason": "bored", "detail": ""}', b"\\xff\\xfe",
    b'{"kept": 0, "width": 1, "height": 1, "fixes": [], "sideways": false}', b'{"kept": 0, "detail": 5}',
]
deaths = Path(__file__).with_name("deaths")
if "lookalike.images.process" in sys.orig_argv and deaths.exists() and int(deaths.read_text()):
    deaths.write_text(str(int(deaths.read_text()) - 1))
    os.kill(os.getpid(), signal.SIGKILL)
if "lookalike.images.process" in sys.orig_argv:
    print("printed while it starts")
if sys.argv[0] == "-m" and "lookalike.images.process" in sys.orig_argv:
    from lookalike.images import decode as module
    from lookalike.failures import OutOfMemoryError as OutOfMemory
    module.OutOfMemory = OutOfMemory
    genuine = module.decode
    def decode(data, size, limits, *, draft=True):
        if data.startswith(b"crash"):
            ctypes.string_at(0)
        if data.startswith(b"abort"):
            os.abort()
        if data.startswith(b"exit"):
            os._exit(3)
        if data.startswith(b"loop"):
            while True:
                pass
        if data.startswith(b"sleep"):
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
            time.sleep(3600)
        if data.startswith(b"eat"):
            bytearray(8 << 30)
        if data.startswith(b"wait for "):
            while not os.path.exists(data[9:]):
                time.sleep(0.01)
        if data.startswith(b"noise"):
            os.write(1, b"native noise")
            os.write(2, b"native noise")
        if data.startswith(b"keep"):
            module.kept = bytearray(200 << 20)
        if data.startswith(b"fill") and not hasattr(module, "filled"):
            module.filled = True
            raise module.OutOfMemory("too_many_pixels", "as if others had left no memory")
        if data.startswith(b"answer"):
            lengths = [(len(text).to_bytes(4, "little") + bytes(8)) for text in ANSWERS]
            bodies = [b"", b"\\xff" * 40, bytes(11), b"\\x09" + bytes(11) + b"short"]
            bodies += [length + text for length, text in zip(lengths, ANSWERS)]
            os.write(int(sys.argv[-1]), bodies[int(data[6:].split(b"!")[0])])
            os._exit(0)
        return genuine(data, size, limits, draft=draft)
    module.decode = decode
"""


def png(level: int = 7) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(level).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def defects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the Python path."""
    folder = tmp_path_factory.mktemp("defects")
    (folder / "sitecustomize.py").write_text(DEFECTS)
    return folder


@pytest.fixture
def frail(defects: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoder]:
    """A decoder with those defects."""
    monkeypatch.syspath_prepend(str(defects))
    one = Decoder()
    yield one
    one.close()


@pytest.fixture
def sound() -> Iterator[Decoder]:
    one = Decoder()
    yield one
    one.close()


def reason_of(one: Decoder, data: bytes, limits: config.ImageSettings = LIMITS) -> str:
    with pytest.raises(ImageError) as refused:
        one.decode(data, SIZE, limits)
    assert len(refused.value.detail.splitlines()) == 1
    return refused.value.reason


def test_pixels_and_facts_are_those_of_decoding_here(sound: Decoder) -> None:
    for limits in (LIMITS, config.ImageSettings(resize="pad", background="#123456")):
        here, there = decode(png(), SIZE, limits), sound.decode(png(), SIZE, limits)
        np.testing.assert_array_equal(there.pixels, here.pixels)
        assert (there.width, there.height, there.fixes, there.sideways) == (50, 40, (), False)


def test_reasons_are_those_of_decoding_here(sound: Decoder) -> None:
    assert reason_of(sound, b"") == "not_an_image"
    assert reason_of(sound, png()[:500]) == "truncated"
    assert reason_of(sound, png(), config.ImageSettings(max_pixels=100)) == "too_many_pixels"


def test_limit_on_pixels_is_ours_and_not_pillows(sound: Decoder) -> None:
    buffer = io.BytesIO()
    Image.new("1", (20_000, 10_000)).save(buffer, "PNG")
    assert Image.MAX_IMAGE_PIXELS is not None
    assert Image.MAX_IMAGE_PIXELS < 20_000 * 10_000 / 2
    assert reason_of(sound, buffer.getvalue()) == "too_many_pixels"
    large = config.ImageSettings(max_pixels=200_000_000, max_decoded_bytes=1 << 30)
    assert sound.decode(buffer.getvalue(), SIZE, large).width == 20_000


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"crash", "decoder_crashed"),
        (b"abort", "decoder_crashed"),
        (b"exit", "decoder_crashed"),
        (b"loop", "decode_timeout"),
        (b"sleep", "decode_timeout"),
        (b"eat", "too_many_pixels"),
        (b"noise", "not_an_image"),
    ],
)
def test_defect_costs_its_picture_and_no_other(
    frail: Decoder, data: bytes, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = decode(png(), SIZE, LIMITS).pixels
    for _ in range(2):
        np.testing.assert_array_equal(frail.decode(png(), SIZE, LIMITS).pixels, expected)
        limits = config.ImageSettings(decode_timeout=0.5) if reason == "decode_timeout" else LIMITS
        assert reason_of(frail, data, limits) == reason
    np.testing.assert_array_equal(frail.decode(png(), SIZE, LIMITS).pixels, expected)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", [1, 3, 4, 5, 9, 10])
def test_damaged_answer_costs_its_picture_and_no_other(frail: Decoder, number: int) -> None:
    assert reason_of(frail, b"answer%d!" % number) == "decoder_crashed"
    assert frail.decode(png(), SIZE, LIMITS).width == 50


def test_process_that_does_not_answer_is_ended(frail: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "GRACE_SECONDS", 0.5 - LIMITS.decode_timeout)  # before its own alarm
    assert reason_of(frail, b"sleep") == "decoder_crashed"


def test_picture_without_memory_is_tried_in_a_fresh_process(frail: Decoder) -> None:
    frail.decode(png(), SIZE, LIMITS)
    assert reason_of(frail, b"fill") == "too_many_pixels"  # both had none
    assert frail._process
    first = frail._process.pid
    assert frail.decode(png(), SIZE, LIMITS).width == 50
    assert frail._process.pid == first


def test_process_that_keeps_much_memory_is_replaced(frail: Decoder) -> None:
    frail.decode(png(), SIZE, LIMITS)
    reason_of(frail, b"keep")
    assert frail._process is None
    assert frail.decode(png(), SIZE, LIMITS).width == 50


@pytest.mark.parametrize(("deaths", "starts"), [(1, True), (3, True), (9, False)])
def test_process_that_is_killed_while_it_starts_is_started_again(
    frail: Decoder, defects: Path, monkeypatch: pytest.MonkeyPatch, deaths: int, starts: bool
) -> None:
    monkeypatch.setattr(decoder, "START_PAUSES", (0, 0, 0))
    (defects / "deaths").write_text(str(deaths))
    if starts:
        assert frail.decode(png(), SIZE, LIMITS).width == 50
    else:
        with pytest.raises(DecoderError, match="before it was ready"):
            frail.decode(png(), SIZE, LIMITS)
    (defects / "deaths").unlink()


def hostile() -> list[bytes]:
    """Pictures that take much of a decoder, or leave something behind."""

    def saved(image: Image.Image, kind: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    small = Image.new("RGB", (64, 64), "red")
    profiles = [saved(small, "TIFF", icc_profile=bytes([number]) * (5 << 20)) for number in range(2)]
    return [
        *profiles,
        saved(Image.new("RGB", (3000, 3000)), "PNG"),
        png()[:300],
        saved(Image.new("1", (9000, 6000)), "PNG"),
    ]


def test_end_of_a_picture_does_not_depend_on_those_before(sound: Decoder) -> None:
    def end(data: bytes) -> bytes | str:
        try:
            return sound.decode(data, SIZE, config.ImageSettings()).pixels.tobytes()
        except ImageError as error:
            return str(error)

    pictures = [*hostile(), png(), png(8)]
    forwards = [end(data) for data in pictures]
    backwards = [end(data) for data in reversed(pictures)]
    assert forwards == backwards[::-1]
    assert sum(isinstance(one, bytes) for one in forwards) == 5


def test_threads_take_turns_and_each_gets_its_own_answer(frail: Decoder) -> None:
    def ask(number: int) -> object:
        if number % 10 == 3:
            return reason_of(frail, b"crash")
        return frail.decode(png(number), SIZE, LIMITS).pixels.tobytes()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(30)))
    for number, one in enumerate(found):
        expected = "decoder_crashed" if number % 10 == 3 else decode(png(number), SIZE, LIMITS).pixels.tobytes()
        assert one == expected


def test_process_that_something_else_has_killed_costs_no_picture(sound: Decoder) -> None:
    sound.decode(png(), SIZE, LIMITS)
    assert sound._process
    os.kill(sound._process.pid, signal.SIGKILL)  # as the kernel does when memory is short
    assert sound.decode(png(), SIZE, LIMITS).width == 50


# The parent's thread is in the middle of a picture, and holds the lock, while its process forks.
FORK = """
import os, signal, sys, threading, time
from lookalike import config
from lookalike.images.decoder import Decoder
one, limits, data = Decoder(), config.ImageSettings(decode_timeout=60), open(sys.argv[1], "rb").read()
expected = one.decode(data, 8, limits).pixels.tobytes()
thread = threading.Thread(target=lambda: one.decode(b"wait for " + sys.argv[2].encode(), 8, limits))
thread.start()
while not one._lock.locked():
    time.sleep(0.01)
time.sleep(0.2)
child = os.fork()
if not child:
    signal.alarm(60)
    right = one.decode(data, 8, limits).pixels.tobytes() == expected
    one.close()
    os._exit(0 if right else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), thread.is_alive())
open(sys.argv[2], "w").close()
thread.join()
print(one.decode(data, 8, limits).pixels.tobytes() == expected)
"""


def test_forked_child_decodes_while_its_parent_waits_for_a_picture(defects: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(defects), *filter(None, sys.path)])}
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(tmp_path / "a.png"), str(tmp_path / "go on")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.stdout == "0 True\nTrue\n"


def test_decoder_that_nobody_needs_any_more_ends() -> None:
    one = Decoder()
    one.decode(png(), SIZE, LIMITS)
    assert one._process
    number = one._process.pid
    del one
    gc.collect()
    assert not Path(f"/proc/{number}").exists()


def test_decoder_ends_with_its_parent_also_in_the_midst_of_a_picture(defects: Path) -> None:
    script = (
        "import os, sys, threading, time; from lookalike import config; from lookalike.images.decoder import Decoder\n"
        "one = Decoder(); ask = lambda: one.decode(b'loop', 8, config.ImageSettings(decode_timeout=1.5))\n"
        "threading.Thread(target=ask, daemon=True).start()\n"
        "while one._process is None: time.sleep(0.01)\n"
        "print(one._process.pid, flush=True); time.sleep(0.3); os._exit(0)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(defects), *filter(None, sys.path)])}
    found = subprocess.run([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, check=True)
    process = Path(f"/proc/{int(found.stdout)}")
    for _ in range(200):
        if not process.exists() or "(zombie)" in (process / "status").read_text():
            return
        time.sleep(0.05)
    raise AssertionError("the decoder outlives its parent")


def test_decoder_that_cannot_start_is_a_named_error(sound: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "START_PAUSES", (0,))
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(DecoderError, match="before it was ready"):
        sound.decode(png(), SIZE, LIMITS)


def test_process_starts_without_the_settings_and_pydantic() -> None:
    script = "import sys, lookalike.images.process; print({'pydantic', 'lookalike.config'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_shared_decoder_is_one_a_process() -> None:
    with ThreadPoolExecutor(4) as pool:
        found = {id(one) for one in pool.map(lambda _: decoder.shared(), range(20))}
    assert len(found) == 1
    assert threading.active_count() < 50


# --- on Spark ---


@pytest.fixture
def odd(drawn: Drawn) -> Iterator[dict[str, str]]:
    """Item -> path of pictures that break the frail decoder, among the drawn ones."""
    names = {"crash": b"crash", "loop": b"loop"}
    for name, data in names.items():
        (drawn.folder / f"images/{name}.jpg").write_bytes(data + b"!")
    yield {name: f"images/{name}.jpg" for name in names}
    for name in names:
        (drawn.folder / f"images/{name}.jpg").unlink()


def test_crash_and_hang_cost_their_pictures_and_not_the_run(
    spark: SparkSession,
    model: CompiledModel,
    settings: Settings,
    defects: Path,
    odd: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = os.pathsep.join([str(defects), *filter(None, sys.path)])
    monkeypatch.setitem(spark.sparkContext.environment, "PYTHONPATH", path)  # of new workers
    chosen = settings(images={"decode_timeout": 1})
    whole = read_catalogue(spark, chosen)
    sound = whole.where("item_id < 'item-0020' AND item_id LIKE 'item-%'")
    rows = [(item, path, None) for item, path in odd.items()]
    items = sound.unionByName(spark.createDataFrame(rows, whole.schema))
    with Warehouse(chosen.warehouse.path).stage() as staged:
        seen = fingerprints.with_fingerprint(items, items.count(), chosen)
        delta = compare_to_release(seen, None, model.model_id, chosen, staged)
        checkpoints = Checkpoints.open(staged.work / "checkpoints", model.model_id, chosen.images, staged.shared)
        done = write_embeddings(delta, EmbedRun(model, chosen, staged, checkpoints))
        failed = {row["item_id"]: (row["reason"], row["permanent"]) for row in done.failures.collect()}
        embedded = {row["item_id"] for row in done.embeddings.select("item_id").collect()}
    assert failed == {"crash": ("decoder_crashed", True), "loop": ("decode_timeout", True)}
    assert embedded == {row["item_id"] for row in sound.collect()}
    assert len(sample_pictures(items, chosen, 30)) == len(embedded)
    assert "2 failed (" in capsys.readouterr().err


def test_driver_survives_them_too(
    settings: Settings, frail: Decoder, odd: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder, "shared", lambda: frail)
    crashed = thumbnails.make(odd["crash"], ImageReader.of(settings()))
    assert crashed.uri is None
    assert crashed.problem.startswith("decoder_crashed: ")


# Another thread is just starting the process when this one forks.
FORKED_AT_THE_START = """
import os, signal, threading, time
from contextlib import suppress
from lookalike import config
from lookalike.failures import ImageError
from lookalike.images import decoder

def ask():
    with suppress(ImageError):
        decoder.shared().decode(b"no picture", 8, config.ImageSettings())

genuine, begun = decoder._start, threading.Event()

def slowly():
    begun.set()
    time.sleep(0.3)
    return genuine()

decoder._start = slowly
starting = threading.Thread(target=ask)
starting.start()
begun.wait()
child = os.fork()
if not child:
    signal.alarm(60)
    ask()
    decoder.shared().close()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
starting.join()
decoder.shared().close()
"""


def test_child_that_is_forked_while_the_process_starts_has_one_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED_AT_THE_START], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("0\n", "")
