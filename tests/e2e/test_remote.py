"""A warehouse in an object store: a real S3 server on the loopback, and machines with copies of their own."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from pyarrow import csv, fs
from pyspark.sql import SparkSession

import lookalike
from lookalike import config, pipeline
from lookalike.errors import GateError, LockError, ModelError, WarehouseError
from lookalike.models.compile import find_or_compile
from lookalike.models.network import CompiledModel
from lookalike.models.weights_file import BUNDLED
from lookalike.spark import release_check
from lookalike.storage import cache, prefix
from lookalike.warehouse import opening
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.release import ReleaseFolder, Staged
from support import records, shop
from support.command import command
from support.submit import Run, submit
from support.told_changes import compared, told

TTL = 300.0


class Bucket:
    """A bucket of its own for each test, and the machines that use it."""

    def __init__(self, endpoint: str, name: str, folder: Path) -> None:
        self.name, self.folder, self.endpoint = name, folder, endpoint
        self.stores = config.StoreSettings(s3_endpoint=endpoint, s3_region="us-east-1")
        store = fs.S3FileSystem(endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True)
        store.create_dir(name)

    def settings(self, machine: str = "one", path: str = "wh", **sections: dict[str, Any]) -> config.Settings:
        """Of a run on a machine."""
        return config.Settings.model_validate(
            {
                "catalogue": {"path": f"s3://{self.name}/catalogue"},
                "warehouse": {"path": f"s3://{self.name}/{path}", "cache": str(self.folder / machine)},
                "stores": self.stores.model_dump(),
                **sections,
            }
        )

    def machine(self, name: str = "one") -> Warehouse:
        """The warehouse as this machine sees it."""
        return opening.open_warehouse(self.settings(name))

    @property
    def prefix(self) -> prefix.Prefix:
        """All of the warehouse."""
        return prefix.Prefix(f"s3://{self.name}/wh", self.stores)

    def names(self) -> list[str]:
        """The warehouse's objects."""
        return sorted(self.prefix.objects())


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path, request: pytest.FixtureRequest) -> Bucket:
    return Bucket(endpoint, f"b{abs(hash(request.node.name)) % 10**9}", tmp_path)


def save(staged: Staged, name: str, text: str) -> None:
    """As a task does."""
    path = staged.root / name
    staged.shared.here(path).write_text(text)
    staged.add([staged.save(path)])


def night(warehouse: Warehouse, content: str, refused: tuple[str, ...] = (), model: str | None = None) -> str:
    """A run that makes a release of two files, and compiles a `model`; its id."""
    with warehouse.writer(TTL), warehouse.stage() as staged:
        warehouse.fetch_models()
        save(staged, "embeddings/part-0", f"vectors {content}")
        save(staged, "index/shard-00000.ann", f"trees {content}" * 1000)
        warehouse.models.mkdir(exist_ok=True)
        (warehouse.models / "m.json").write_text(f'{{"model": "{model}"}}' if model else "{}")
        if model is not None:
            (warehouse.models / "m.tflite").write_text(model)
        with suppress(GateError):
            publish(warehouse, staged, refused)
        return staged.release_id


def publish(warehouse: Warehouse, staged: Staged, refused: tuple[str, ...] = ()) -> None:
    files = release_check.write_files_json(staged).model_dump(mode="json")
    gates = records.refused(*refused)
    warehouse.publish(staged, records.record(staged.release_id, staged.parent_id, files=files, gates=gates))


def test_second_machine_reads_what_the_first_has_published(bucket: Bucket) -> None:
    first = night(bucket.machine("one"), "a")
    other = bucket.machine("two")
    release = other.need_current()
    assert release.release_id == first
    assert release.record().release_id == first
    copy = other.fetch(release)
    assert (copy.embeddings / "part-0").read_text() == "vectors a"
    other.fetch_models()
    assert (other.models / "m.json").read_text() == "{}"
    assert (other.path / "current").resolve() == release.root.resolve()
    assert other.sizes(release)["index"] == len("trees a" * 1000)
    assert json.loads(bucket.prefix.read("CURRENT") or b"")["release_id"] == first


def test_machines_take_turns_and_roll_back_for_each_other(bucket: Bucket) -> None:
    first = night(bucket.machine("one"), "a")
    second = night(bucket.machine("two"), "b")
    assert bucket.machine("one").need_current().release_id == second
    assert bucket.machine("two").need_current().record().parent == first
    warehouse = bucket.machine("one")
    with warehouse.writer(TTL):
        warehouse.roll_back(warehouse.previous())
    assert bucket.machine("two").need_current().release_id == first
    third = night(bucket.machine("two"), "c")
    assert bucket.machine("three").need_current().record().parent == first
    assert [one.release_id for one in bucket.machine("four").releases()] == [first, second, third]


@pytest.mark.parametrize("copies", [True, False])
def test_files_that_a_release_has_of_its_parent_are_copied_inside_the_store(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, copies: bool
) -> None:
    """Not what was written again; and all files are sent to a store that refuses to copy."""
    first = night(bucket.machine("one"), "a")

    def refuse(*_: object) -> None:
        raise WarehouseError("no copies here")

    if not copies:
        monkeypatch.setattr(prefix.Prefix, "copy", refuse)
    sent: list[str] = []
    upload = prefix.Prefix.upload
    monkeypatch.setattr(
        prefix.Prefix, "upload", lambda self, path, name: (sent.append(name), upload(self, path, name))[1]
    )
    warehouse = bucket.machine("one")
    with warehouse.writer(TTL), warehouse.stage() as staged:
        assert staged.parent_id == first
        staged.add(staged.link(name, known) for name, known in staged.inherited.items() if known.part == "index")
        save(staged, "embeddings/part-0", "vectors b")
        publish(warehouse, staged)
        second = f"releases/{staged.release_id}"
    shard = f"{second}/index/shard-00000.ann"
    assert sorted(sent) == [f"{second}/embeddings/part-0", f"{second}/files.json", *(() if copies else (shard,))]
    assert bucket.prefix.read(shard) == b"trees a" * 1000
    assert bucket.prefix.read(f"{second}/embeddings/part-0") == b"vectors b"


def test_clean_removes_the_objects_and_other_machines_notice(bucket: Bucket) -> None:
    machines = [bucket.machine("one"), bucket.machine("two")]
    ids = [night(machines[number % 2], f"night {number}") for number in range(4)]
    with machines[0].writer(TTL):
        cleaned = machines[0].clean(1, 0)
    assert [release.release_id for release in cleaned.removed] == ids[:3]
    assert cleaned.freed > 3 * 1000
    assert {name.split("/")[1] for name in bucket.names() if name.startswith("releases/")} == {ids[3]}
    assert [one.release_id for one in machines[1].releases()] == [ids[3]]
    assert not (machines[1].path / "releases" / ids[1]).exists()


def test_refused_release_is_kept_for_inspection_and_never_current(bucket: Bucket) -> None:
    first = night(bucket.machine("one"), "a")
    refused = [night(bucket.machine("one"), "b", ("too bad",)) for _ in range(2)]
    other = bucket.machine("two")
    assert other.need_current().release_id == first
    assert [one.release_id for one in other.refused()] == refused[1:]
    assert other.find(refused[1], refused=True).record().refusals
    assert {name.split("/")[1] for name in bucket.names() if name.startswith("refused/")} == {refused[1]}


def test_model_that_is_compiled_again_replaces_one_of_the_same_size(bucket: Bucket) -> None:
    machines = [bucket.machine("one"), bucket.machine("two")]
    night(machines[0], "a", model="model 1")
    night(machines[1], "b", model="model 2")
    assert bucket.prefix.read("models/m.tflite") == b"model 2"
    machines[0].fetch_models()
    assert (machines[0].models / "m.tflite").read_text() == "model 2"
    copied = (machines[0].models / "m.tflite").stat().st_ino
    machines[0].fetch_models()
    assert (machines[0].models / "m.tflite").stat().st_ino == copied  # not again


def test_what_is_damaged_on_a_machine_comes_from_the_store_again(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    night(bucket.machine(), "a")
    warehouse = bucket.machine("two")
    release = warehouse.need_current()
    file = warehouse.fetch(release).embeddings / "part-0"
    file.write_text("vectors A")  # of the same size
    monkeypatch.setattr(cache, "TRUSTED_SECONDS", 0.0)  # as in the next night
    assert (warehouse.fetch(release).embeddings / "part-0").read_text() == "vectors a"
    (release.root / "files.json").write_text("{}")
    listed = release.files()
    assert listed is not None
    assert [one.name for one in listed.files] == ["embeddings/part-0", "index/shard-00000.ann"]
    release.record_path.write_bytes(release.record_path.read_bytes().replace(b'"recall": 1.0', b'"recall": 0.9'))
    assert [one.record().counts.recall for one in bucket.machine("two").releases()] == [1.0]


@pytest.mark.parametrize("harm", [b"", b"vec", None], ids=["empty", "cut", "gone"])
def test_release_that_lost_an_object_never_becomes_current(bucket: Bucket, harm: bytes | None) -> None:
    warehouse = bucket.machine()
    first, second = night(warehouse, "a"), night(warehouse, "b")
    name = f"releases/{first}/embeddings/part-0"
    bucket.prefix.remove(name) if harm is None else bucket.prefix.write(name, harm)
    with pytest.raises(WarehouseError, match=r"is damaged \(embeddings/part-0: it "):
        warehouse.roll_back(warehouse.find(first))
    assert warehouse.need_current().release_id == second


def test_run_that_dies_while_it_writes_leaves_the_old_release_current(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot even remove what it has sent."""
    first = night(bucket.machine("one"), "a")
    sent: list[str] = []
    upload = prefix.Prefix.upload

    def gone(*_: object) -> None:
        raise WarehouseError("the network is gone")

    def dying(self: prefix.Prefix, path: Path, name: str) -> None:
        upload(self, path, name)
        sent.append(name)
        for method in ("upload", "copy", "write", "remove", "remove_all"):
            patch.setattr(prefix.Prefix, method, gone)

    with monkeypatch.context() as patch:
        patch.setattr(prefix.Prefix, "upload", dying)
        with pytest.raises(WarehouseError, match="network is gone"):
            night(bucket.machine("one"), "b")
    bucket.prefix.remove_all("LOCK")  # which would run out
    assert len(sent) == 1
    assert bucket.machine("two").need_current().release_id == first
    assert [one.release_id for one in bucket.machine("two").releases()] == [first]
    assert sent[0] in bucket.names()
    third = night(bucket.machine("two"), "c")
    assert {name.split("/")[1] for name in bucket.names() if name.startswith("releases/")} == {first, third}


def test_run_that_lost_its_lock_leaves_no_release_in_the_store(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse = bucket.machine("one")
    first = night(warehouse, "a")
    monkeypatch.setattr(warehouse, "_push_models", lambda: bucket.prefix.remove_all("LOCK"))  # the last step but one
    with pytest.raises(LockError, match="took the lock"):
        night(warehouse, "b")
    assert [release.release_id for release in bucket.machine("two").releases()] == [first]
    assert bucket.machine("two").need_current().release_id == first


def test_one_writer_at_a_time_also_from_two_machines(bucket: Bucket) -> None:
    one, two = bucket.machine("one"), bucket.machine("two")
    with one.writer(TTL) as held:
        with pytest.raises(LockError, match="is being written by process"), two.writer(TTL):
            pass
        held.check()
    with two.writer(TTL):
        pass
    assert not [name for name in bucket.names() if name.startswith("LOCK")]


def test_bucket_that_is_not_there_is_said(endpoint: str, tmp_path: Path) -> None:
    stores = config.StoreSettings(s3_endpoint=endpoint, s3_region="us-east-1")
    warehouse = opening.at(config.WarehouseSettings(path="s3://no-such-bucket/wh", cache=str(tmp_path)), stores)
    with pytest.raises(WarehouseError, match=r"s3://no-such-bucket/wh: not_found.*s3_endpoint"), warehouse.writer(TTL):
        pass


def test_store_that_does_not_answer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lookalike.storage.object_store.FILE_TRIES", 1)
    stores = config.StoreSettings(s3_endpoint="http://127.0.0.1:9", s3_region="us-east-1")
    warehouse = opening.at(config.WarehouseSettings(path="s3://bucket/wh", cache=str(tmp_path)), stores)
    with pytest.raises(WarehouseError, match=r"s3://bucket/wh: "):
        warehouse.need_current()


@pytest.mark.parametrize("path", ["hdfs://node/wh", "https://host/wh", "ftp://host/wh", "s3://"])
def test_place_that_is_neither_folder_nor_store_is_refused(path: str) -> None:
    settings = config.Settings.model_validate({"catalogue": {"path": "x"}, "warehouse": {"path": path}})
    with pytest.raises(WarehouseError, match=r"neither a folder nor"):
        opening.open_warehouse(settings)


def test_folder_of_copies_is_of_its_warehouse_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    a, b, again = (
        opening.folder(config.WarehouseSettings(path=path)) for path in ("s3://x/a", "s3://x/b", "s3://x/a/")
    )
    assert a == again != b
    assert a.parent == tmp_path / "lookalike"


def test_weights_and_trees_of_objects_are_copied_whole(bucket: Bucket, tmp_path: Path) -> None:
    root = prefix.Prefix(f"s3://{bucket.name}", bucket.stores)
    for name in ("cat/day=1/a.parquet", "cat/day=2/b.parquet", "one.h5"):
        root.write(name, name.encode())
    copy = prefix.download_all(f"s3a://{bucket.name}/cat/", bucket.stores, tmp_path / "a")
    assert copy is not None
    assert {path.relative_to(copy).as_posix() for path in copy.rglob("*.parquet")} == {
        "day=1/a.parquet",
        "day=2/b.parquet",
    }
    one = prefix.download_all(f"s3://{bucket.name}/one.h5", bucket.stores, tmp_path / "b")
    assert one is not None
    assert one.read_bytes() == b"one.h5"
    assert prefix.download_all(f"s3://{bucket.name}/none", bucket.stores, tmp_path / "c") is None
    whole = prefix.download_all(f"s3://{bucket.name}", bucket.stores, tmp_path / "d")
    assert whole is not None
    assert (whole / "cat/day=1/a.parquet").read_bytes() == b"cat/day=1/a.parquet"


def test_weights_that_are_not_in_the_bucket_are_named(bucket: Bucket, tmp_path: Path) -> None:
    settings = config.ModelSettings(weights=f"s3://{bucket.name}/none.h5")
    with pytest.raises(ModelError, match=r"model.weights: no file s3://"):
        find_or_compile(settings, tmp_path, lambda _: pytest.fail("no pictures are needed"), stores=bucket.stores)


@pytest.fixture
def shop_in_store(bucket: Bucket, model: CompiledModel, tmp_path: Path) -> shop.Shop:
    """A shop whose catalogue, pictures and weights are in the bucket, and whose model is compiled already."""
    made = shop.Shop.of(tmp_path / "shop", 12)
    store = shop.new_warehouse(tmp_path / "store", model) / "models"
    for path in store.iterdir():
        bucket.prefix.upload(path, f"models/{path.name}")
    prefix.Prefix(f"s3://{bucket.name}", bucket.stores).upload(BUNDLED, "weights/resnet50.npz")
    upload(made, bucket)
    return made


def upload(made: shop.Shop, bucket: Bucket) -> None:
    """The shop as it is now."""
    made.write()
    root = prefix.Prefix(f"s3://{bucket.name}", bucket.stores)
    csv.write_csv(pq.read_table(made.folder / "catalogue.parquet"), made.folder / "catalogue.csv")
    root.upload(made.folder / "catalogue.csv", "catalogue/part-0.csv")
    for path in (made.folder / "images").iterdir():
        if root.read(f"images/{path.name}") != path.read_bytes():
            root.upload(path, f"images/{path.name}")


def in_store(made: shop.Shop, bucket: Bucket, warehouse: dict[str, str]) -> config.Settings:
    """The shop's settings, with nothing on this machine but `warehouse`."""
    settings = made.settings(
        Path("unused"),
        "content",
        catalogue={"path": f"s3://{bucket.name}/catalogue", "image_root": f"s3a://{bucket.name}"},
        model={"weights": f"s3://{bucket.name}/weights/resnet50.npz", "input_size": 112},
        stores=bucket.stores.model_dump(),
        report={"enabled": True},
    )
    return settings.model_copy(update={"warehouse": config.WarehouseSettings.model_validate(warehouse)})


def written(settings: config.Settings) -> Path:
    """The settings as a file."""
    file = Path(settings.warehouse.cache or "").with_suffix(".yaml")
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    return file


def output(run: Run) -> str:
    """Of what has to end well."""
    assert run.code == 0, run.output
    return run.output


# Each worker of Spark is a machine of its own: what Python imports first when it starts.
MACHINES = """
import os, sys
from pathlib import Path
if "pyspark.daemon" in sys.orig_argv:
    from lookalike.warehouse import shared_files
    shared_files._folder_here = lambda base: Path(f"{base}-worker-{os.getpid()}")
"""


@pytest.fixture
def machines_of_workers(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New workers have no folder in common with the driver or with each other."""
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "sitecustomize.py").write_text(MACHINES)
    path = os.pathsep.join([str(tmp_path / "python"), *filter(None, sys.path)])
    monkeypatch.setitem(spark.sparkContext.environment, "PYTHONPATH", path)


@pytest.mark.usefixtures("machines_of_workers")
def test_catalogue_pictures_weights_and_warehouse_in_a_bucket(
    spark: SparkSession, bucket: Bucket, shop_in_store: shop.Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nights, of two drivers and of workers that share no folder, make what one machine makes on its disk."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    where = f"s3://{bucket.name}/wh"
    machines = [
        in_store(shop_in_store, bucket, {"path": where, "cache": str(tmp_path / f"machine-{number}")})
        for number in range(3)
    ]
    files = [written(settings) for settings in machines]
    first = output(command(spark, "run", files[0]))
    assert "12 new" in first
    assert f"published: {where}/releases/" in first
    assert list(tmp_path.glob("machine-0-worker-*/releases/*/embeddings/*.parquet"))
    assert not list(tmp_path.glob("machine-0/releases/*/similar_items/*"))
    was = bucket.machine("reader").need_current()

    shop_in_store.put("item-03", shop.picture(50))
    shop_in_store.add("item-77", 77)
    del shop_in_store.rows["item-05"]
    upload(shop_in_store, bucket)
    second = output(submit("embed.py", files[1]))  # a machine that has seen nothing of the first
    assert "1 new, 1 changed, 10 unchanged, 1 removed" in second
    assert "no such model" not in second

    warehouse = bucket.machine("reader")
    now = warehouse.need_current()
    assert now.record().parent == was.release_id
    now = warehouse.fetch(now)
    assert told(now) == compared(now, warehouse.fetch(was))
    page = now.report.read_text()
    assert "Of 11 lists that are drawn" in page  # those of the release before were on another machine
    assert page.count("data:image/jpeg") > 60
    alone = in_store(shop_in_store, bucket, {"path": str(shop.copy_warehouse(tmp_path / "store", tmp_path / "alone"))})
    pipeline.refresh(spark, alone)
    whole = Warehouse(alone.warehouse.path).need_current()
    assert shop.rows(now.similar_items, "release_id") == shop.rows(whole.similar_items, "release_id")
    assert shop.rows(now.embeddings, "embedded_at", "fingerprint") == shop.rows(
        whole.embeddings, "embedded_at", "fingerprint"
    )

    tuesday = lookalike.open_release(where, bucket.stores)
    assert repr(tuesday).startswith(f"<lookalike.Release {now.release_id} of {where}: 12 items, k ")
    sent = pickle.dumps(tuesday)
    assert f"rolled back from {now.release_id} to {was.release_id}" in output(
        command(spark, "releases rollback", files[2])
    )
    monday = lookalike.open_release(where, bucket.stores)
    assert monday.release_id == was.release_id
    assert repr(lookalike.open_release(f"{where}/releases/{now.release_id}", bucket.stores)) == repr(tuesday)
    shutil.rmtree(opening.folder(config.WarehouseSettings(path=where)))  # as on a machine that has seen nothing
    again = pickle.loads(sent)
    assert repr(again) == repr(tuesday)
    assert len(again.search_image(shop.picture(50), 3)) == 3
    assert again.items()[:2]._repr_html_().count("data:image/jpeg") == 2  # of the store, by its settings
    item_id = again.items()[0]["item_id"]
    assert again.why(item_id, again.similar(item_id)[1].item_id).rank == 2
    listed = output(command(spark, "releases list", files[0]))
    assert where in listed
    assert f"*  {was.release_id}" in listed


def test_release_of_another_machine_is_no_release_here_until_it_is_whole(bucket: Bucket) -> None:
    first = night(bucket.machine("one"), "a")
    bucket.prefix.write("releases/20990101T000000.000000Z-aaaaaa/embeddings/part-0.parquet", b"half")
    other = bucket.machine("two")
    assert [one.release_id for one in other.releases()] == [first]
    with pytest.raises(WarehouseError, match="no release"):
        other.find("2099")
    assert isinstance(other.need_current(), ReleaseFolder)
