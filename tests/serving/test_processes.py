"""A release in the processes of its users: they stay as they were, they may fork, and they may send it to others."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lookalike
from lookalike.errors import WarehouseError
from lookalike.models import network
from lookalike.models.network import CompiledModel
from support.served import write_warehouse

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and forks with threads")

LIMIT = 300  # seconds after which something hangs: on a quiet machine, none of this takes ten


def run(script: str, *arguments: object) -> str:
    """What a fresh interpreter prints; it may leave nothing on the terminal."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


# What other packages do to a process is done before the first look.
LOOK = """
import asyncio, atexit, gc, json, locale, logging, os, signal, socket, sys, threading, warnings
import numpy, pyarrow.dataset, pydantic, yaml, annoy, tenacity, urllib3, threadpoolctl, jinja2
from PIL import Image

def look():
    return {
        "pixels": Image.MAX_IMAGE_PIXELS,
        "formats": sorted(Image.OPEN),
        "signals": {str(one): repr(signal.getsignal(one)) for one in signal.valid_signals()},
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "threads": sorted(one.name for one in threading.enumerate()),
        "filters": [repr(one) for one in warnings.filters],
        "exits": atexit._ncallbacks(),
        "hooks": [repr(one) for one in (sys.excepthook, sys.displayhook, threading.excepthook, sys.meta_path)],
        "loggers": [logging.root.level, repr(logging.root.handlers)],
        "locale": locale.setlocale(locale.LC_ALL),
        "timeout": socket.getdefaulttimeout(),
        "stack": [sys.getrecursionlimit(), sys.getswitchinterval(), repr(sys.gettrace())],
        "children": open(f"/proc/self/task/{os.getpid()}/children").read(),
    }

forked = []
os.register_at_fork = lambda **hooks: forked.append(hooks)
before = look()
import lookalike
lookalike.open_release, lookalike.Release, lookalike.Neighbour, lookalike.errors
named = look()
release = lookalike.open_release(sys.argv[1])
repr(release)
release.similar(sys.argv[2])
release.search([1.0] * 2048)
opened = look()
print(json.dumps([before, named, opened, len(forked)]))
"""


def test_import_open_and_search_change_nothing_in_the_process(warehouse: Path) -> None:
    before, named, opened, hooks = json.loads(run(LOOK, warehouse, "item-0001"))
    assert named == before
    assert opened == before
    assert hooks == 0


# --- a web server that loads before it forks

# A child's answers are compared with its parent's; one that hangs is ended by its alarm.
FORK = """
import os, signal, sys, threading, warnings
from pathlib import Path
import lookalike
warnings.simplefilter("error")
warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork")  # Python 3.12; the point of all this

def answers(release, picture):
    data = Path(picture).read_bytes()
    by_picture = [release.search_image(picture), release.search_image(data, 3)]
    return [release.similar("item-0001"), *by_picture, release.search([1.0] * 2048)]

where, *pictures, busy = sys.argv[1:]
release = lookalike.open_release(where)
expected = {picture: answers(release, picture) for picture in pictures}
ended = threading.Event()

def right(picture):
    return answers(release, picture) == expected[picture]

def work():
    while not ended.is_set():
        assert right(pictures[0])

threads = [threading.Thread(target=work) for _ in range(int(busy))]
for thread in threads:
    thread.start()
children = []
for number in range(4 if threads else 2):
    child = os.fork()
    if not child:
        signal.alarm(200)
        mine = pictures[number % 2]  # each another one: a mixed-up answer shows
        sys.exit(0 if all(right(mine) for _ in range(3)) else 3)  # through all that a normal end runs
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
ended.set()
for thread in threads:
    thread.join()
assert all(map(right, pictures))  # the children have taken nothing from their parent
print(codes)
"""


@pytest.fixture(scope="module", params=["litert", "openvino"])
def by_engine(
    request: pytest.FixtureRequest,
    model: CompiledModel,
    pictures: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A warehouse whose network runs in this engine."""
    made = network.model_id(model.artefact, model.input_size, request.param, model.preprocessing)
    other = dataclasses.replace(model, engine=request.param, model_id=made)
    return write_warehouse(tmp_path_factory.mktemp(request.param) / "wh", other, pictures)


def test_forked_children_answer_as_their_parent_does(by_engine: Path, pictures: dict[str, Path]) -> None:
    assert run(FORK, by_engine, pictures["item-0002"], pictures["item-0005"], 0) == "[0, 0]\n"


def test_children_forked_while_threads_ask_answer_too(warehouse: Path, pictures: dict[str, Path]) -> None:
    assert run(FORK, warehouse, pictures["item-0002"], pictures["item-0005"], 2) == f"{[0] * 4}\n"


# The parent ends; its child lives on and asks nothing. Does the parent's decoder end?
ORPHAN = """
import os, sys, time
import lookalike
from lookalike.images import decoder

def lives(process):
    try:
        return open(f"/proc/{process}/stat").read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

said, say = os.pipe()
held, hold = os.pipe()
parent = os.fork()
if not parent:
    os.close(hold)
    lookalike.open_release(sys.argv[1]).search_image(sys.argv[2])
    child = os.fork()
    if not child:
        os.read(held, 1)
        os._exit(0)
    os.write(say, f"{decoder.shared()._process.pid} {child}".encode())
    os._exit(0)
os.waitpid(parent, 0)
process, child = os.read(said, 100).split()
process, child = int(process), int(child)
end = time.monotonic() + 60
while lives(process) and time.monotonic() < end:
    time.sleep(0.01)
print(lives(process), lives(child))
os.close(hold)
"""


def test_decoder_ends_with_its_process_though_a_forked_child_lives(warehouse: Path, pictures: dict[str, Path]) -> None:
    assert run(ORPHAN, warehouse, pictures["item-0002"]) == "False True\n"


# --- pickle


def ask(release: lookalike.Release, picture: Path) -> tuple[str, list[lookalike.Neighbour], list[lookalike.Neighbour]]:
    """What a release answers in a process of its own."""
    return release.release_id, release.similar("item-0001"), release.search_image(picture)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_release_is_opened_again_in_the_process_that_it_is_sent_to(
    warehouse: Path, pictures: dict[str, Path], method: str
) -> None:
    release, picture = lookalike.open_release(warehouse), pictures["item-0003"]
    expected = ask(release, picture)
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.starmap_async(ask, [(release, picture)] * 3).get(LIMIT)
    assert found == [expected] * 3


def test_pickle_is_small_and_stays_the_release_that_was_opened(warehouse: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(warehouse, tmp_path / "wh")
    release = lookalike.open_release(copy)
    release.search([1.0] * 2048)
    kept = pickle.dumps(release)
    assert len(kept) < 500
    shutil.copytree(copy / "releases/r1", copy / "releases/r2")
    (copy / "CURRENT").write_text('{"release_id": "r2"}')
    assert lookalike.open_release(copy).release_id == "r2"
    again = pickle.loads(kept)
    assert (again.release_id, repr(again)) == ("r1", repr(release))
    assert again.similar("item-0001") == release.similar("item-0001")
    shutil.rmtree(copy / "releases/r1")
    with pytest.raises(WarehouseError, match="r1: no such folder"):
        pickle.loads(kept)
