"""Damaged files of a release: a question gets the right answer or a named error, and never a wrong answer."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lookalike import config, open_release
from lookalike.cli import item, release_figures
from lookalike.errors import LookalikeError, QueryError, WarehouseError
from lookalike.serving import tables
from lookalike.warehouse.local import Warehouse
from support import constraint_items, records
from support.ruled_release import write_ruled_release
from support.served import names, units
from support.stories import LONG

GOLDEN = Path(__file__).parents[1] / "golden/0.2.0/warehouse"

FLIPS = 200 if LONG else 10


@pytest.fixture
def copy(warehouse: Path, tmp_path: Path) -> Path:
    """A warehouse of twelve items whose files may be damaged."""
    return Path(shutil.copytree(warehouse, tmp_path / "wh", symlinks=True))


def ask(warehouse: Path, ids: list[str]) -> dict[str, Any]:
    """Every question with its answer, or the class of its error."""
    answers: dict[str, Any] = {}

    def put(question: str, answer: Callable[[], Any]) -> None:
        try:
            answers[question] = answer()
        except LookalikeError as error:
            answers[question] = type(error)

    def release() -> Any:
        return open_release(warehouse)

    put("open", lambda: release().release_id)
    for item_id in ids[::4]:
        put(f"similar {item_id}", lambda item_id=item_id: release().similar(item_id, 5))
    put("failed", lambda: release()._items.failed(["lost"]))
    put("similar many", lambda: list(release().similar_many(ids, 5)))
    put("items", lambda: release().items().to_arrow().to_pylist())
    put("search", lambda: release().search(units(1, dimensions=2048)[0], 5))
    where = config.WarehouseSettings(path=str(warehouse))
    settings = config.Settings(catalogue=config.CatalogueSettings(path="none"), warehouse=where)
    put("show", lambda: item.read(settings, ids[0]).as_json())
    opened = Warehouse(str(warehouse))
    put("releases list", lambda: release_figures.of_all(opened))
    put("record", lambda: opened.need_current().record())
    return answers


def flips(file: Path, count: int) -> Iterator[int]:
    """Give the file `count` times one flipped bit each; yields where, and leaves the file as it was."""
    sound, chosen = file.read_bytes(), random.Random(file.name)
    for _ in range(count):
        damaged, at = bytearray(sound), chosen.randrange(len(sound))
        damaged[at] ^= 1 << chosen.randrange(8)
        file.write_bytes(damaged)
        yield at
    file.write_bytes(sound)


@pytest.mark.stories
def test_flipped_bit_gives_the_right_answer_or_a_named_error(copy: Path, pictures: dict[str, Path]) -> None:
    ids = sorted(pictures)
    truth = ask(copy, ids)
    assert not any(isinstance(answer, type) for answer in truth.values())
    for file in (path for path in sorted((copy / "releases/r1").rglob("*")) if path.is_file()):
        noticed = 0
        for at in flips(file, FLIPS):
            found = ask(copy, ids)
            wrong = {name for name, answer in found.items() if answer != truth[name] and not is_named(answer)}
            assert not wrong, f"{file.name}, byte {at}: {wrong}"
            noticed += found != truth
        assert noticed or file.parent.name == "embeddings", file  # vectors of the table are no part of any answer
    assert ask(copy, ids) == truth


@pytest.mark.stories
def test_flipped_bit_makes_no_wrong_explanation_and_no_wrong_vector(tmp_path: Path) -> None:
    rules = config.SimilarSettings(group_by="kind", variant_of="product", duplicate_cosine=0.9, k=2)
    root = write_ruled_release(tmp_path / "r", constraint_items.products()[:9], rules)

    def ask() -> list[Any]:
        release = open_release(root)
        pairs = [("000", "001"), ("002", "008"), ("003", "failed")]
        vectors = release.embeddings(["001", "005"])
        return [*(release.why(*pair) for pair in pairs), vectors.tolist(), list(release.search_many(vectors, 3))]

    truth = ask()
    for file in (path for path in sorted(root.rglob("*")) if path.is_file()):
        noticed = 0
        for at in flips(file, FLIPS):
            try:
                assert ask() == truth, f"{file.name}, byte {at}"
            except LookalikeError as error:
                assert not isinstance(error, QueryError), f"{file.name}, byte {at}: {error}"  # noqa: PT017
                noticed += 1
        assert noticed, file


def is_named(answer: Any) -> bool:
    """Whether an answer says that a file is damaged; in the list of releases, the line of a release does."""
    if isinstance(answer, list) and answer and isinstance(answer[0], dict):
        return bool(answer[0].get("error"))
    return isinstance(answer, type) and not issubclass(answer, QueryError)


def test_footer_and_pages_of_a_table_too_large_to_read_whole_are_verified(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "WHOLE_BYTES", 0)
    (file,) = Warehouse(str(copy)).need_current().similar_items.glob("*.parquet")
    item_id = str(pq.read_table(file)["item_id"][0])
    chunk = pq.read_metadata(file).row_group(0).column(3)
    sound = file.read_bytes()
    page_end = (chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size
    for at, reason in ((len(sound) - 12, "footer"), (page_end - 2, "CRC")):
        assert open_release(copy).similar(item_id)
        file.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        with pytest.raises(WarehouseError, match=reason):
            open_release(copy).similar(item_id)
        file.write_bytes(sound)


def test_table_of_0_2_0_is_compared_to_the_checksums_that_hadoop_left(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(GOLDEN, tmp_path / "wh", symlinks=True))
    (file,) = Warehouse(str(copy)).need_current().similar_items.glob("*.parquet")
    item_id = str(pq.read_table(file)["item_id"][0])
    truth, noticed = open_release(copy).similar(item_id), 0
    for _ in flips(file, 100):
        try:
            assert open_release(copy).similar(item_id) == truth
        except WarehouseError:
            noticed += 1
    assert noticed > 90  # about 40 without these sums


def test_table_of_0_2_0_that_lost_a_file_is_told_by_the_checksums_of_the_file(tmp_path: Path) -> None:
    """No figure of its release.json counts the duplicates: without them, two of one picture would be distinct."""
    copy = Path(shutil.copytree(GOLDEN, tmp_path / "wh", symlinks=True))
    (file,) = Warehouse(str(copy)).need_current().duplicates.glob("*.parquet")
    file.unlink()
    release = open_release(copy)
    with pytest.raises(WarehouseError, match=f"{file.name} cannot be read .it is gone"):
        release.search(units(1, dimensions=16)[0], 5, distinct=True)


@pytest.mark.parametrize("part", ["similar_items", "embeddings", "failures"])
@pytest.mark.parametrize("listed", [True, False], ids=["of this version", "of 0.2.0"])
@pytest.mark.parametrize("harm", ["gone", "foreign"])
def test_file_that_is_gone_or_foreign_is_an_error(copy: Path, part: str, listed: bool, harm: str) -> None:
    release = Warehouse(str(copy)).need_current()
    if not listed:
        kept = release.record().model_dump(mode="json", exclude={"files"})
        release.record_path.write_bytes(records.record(**kept).as_json())
    (file,) = (release.root / part).glob("*.parquet")
    if harm == "gone":
        file.rename(copy / "elsewhere")
    else:
        shutil.copy(file, file.with_name("part-1.parquet"))
    with pytest.raises(WarehouseError, match=part) as raised:
        open_release(copy).similar("lost" if part == "failures" else "nobody" if part == "embeddings" else names(1)[0])
    assert "\n" not in str(raised.value)


def test_release_whose_files_are_not_complete_never_becomes_current(copy: Path) -> None:
    warehouse = Warehouse(str(copy))
    old = warehouse.need_current()
    newer = Path(shutil.copytree(old.root, copy / "releases/r2"))
    (newer / "similar_items" / "part-0.parquet").unlink()
    release = warehouse.find("r2")
    with pytest.raises(WarehouseError, match=r"similar_items/part-0\.parquet: it is gone"):
        warehouse.roll_back(release)
    assert warehouse.need_current().release_id == "r1"
