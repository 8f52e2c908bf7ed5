"""What executors need and have, and what is refused."""

from __future__ import annotations

import re

import pytest

from lookalike import config
from lookalike.doctor import memory, resources
from lookalike.doctor.resources import Executors
from lookalike.doctor.spark_settings import MIB, SparkSettings
from support.drawn import ROOT
from support.pages import table

SETTINGS = config.Settings(catalogue=config.CatalogueSettings(path="c"), warehouse=config.WarehouseSettings(path="w"))


def spark(master: str, **settings: str) -> SparkSettings:
    named = {"spark.master": master, **{name.replace("_", "."): value for name, value in settings.items()}}
    return SparkSettings.of(named.get)


def test_each_task_adds_a_worker_a_decoder_and_its_maps() -> None:
    two, four = (memory.needs(SETTINGS, spark("yarn"), tasks) for tasks in (2, 4))
    assert four.total - two.total == 2 * (four.worker + four.decoder + four.maps)
    assert sum(four.parts().values()) == four.total


def test_worker_holds_the_larger_of_pictures_and_search() -> None:
    def of_a_task(**sections: dict[str, int]) -> int:
        return sum(memory.of_a_task(config.Settings.model_validate({**SETTINGS.model_dump(), **sections})))

    small = of_a_task(similar={"task_memory": 64 << 20})
    assert of_a_task(similar={"task_memory": 1 << 30}) == of_a_task(similar={"task_memory": 2 << 30}) - (1 << 30)
    assert of_a_task(similar={"task_memory": 100 << 20}) == small  # less than pictures may take
    assert of_a_task(similar={"task_memory": 64 << 20}, images={"max_decoded_bytes": 300 << 20}) == small + (108 << 20)


def test_executors_of_a_container_have_its_size_and_those_of_machines_share_them() -> None:
    in_container = Executors.of(SETTINGS, spark("yarn", spark_executor_memory="4g"), [4, 4], 64 << 30, 2)
    assert (in_container.number, in_container.tasks, in_container.has) == (2, 4, int(1.1 * (4 << 30)))
    on_machines = Executors.of(SETTINGS, spark("spark://x", spark_task_cpus="2"), [4, 4], 64 << 30, 2)
    assert (on_machines.tasks, on_machines.has) == (2, 32 << 30)


def test_line_says_what_there_is_and_what_to_set_where_it_is_too_little() -> None:
    enough = Executors(SETTINGS, spark("spark://x"), 2, 4, 64 << 30)
    assert re.fullmatch(r"executors: 2 of 4 cores, 64\.0 GiB each, needs \d\.\d GiB", enough.line())
    few = Executors(SETTINGS, spark("yarn", spark_executor_memory="2g"), 2, 4, 3 << 30)
    overhead = int(re.search(r"; set --conf spark\.executor\.memoryOverhead=(\d+)m$", few.line())[1])  # type: ignore[index]
    given = spark("yarn", spark_executor_memory="2g", spark_executor_memoryOverhead=f"{overhead}m")
    assert Executors.of(SETTINGS, given, [4], 64 << 30).state == "ok"


@pytest.mark.parametrize(
    ("master", "option"), [("spark://x", r"spark\.executor\.cores=(\d)"), ("local", r"local\[(\d)\]")]
)
def test_as_many_cores_are_advised_as_the_machine_has_memory_for(master: str, option: str) -> None:
    few = Executors(SETTINGS, spark(master), 1, 16, 8 << 30)
    cores = int(re.search(option, few.line())[1])  # type: ignore[index]
    assert 1 < cores < 16
    assert memory.needs(SETTINGS, spark(master), cores).total <= 8 << 30
    assert memory.needs(SETTINGS, spark(master), cores + 1).total > 8 << 30


def test_too_little_is_told_from_what_cannot_work() -> None:
    needs, least = memory.needs(SETTINGS, spark("yarn"), 4).total, memory.least(spark("yarn"), 4, SETTINGS.model)
    states = [Executors(SETTINGS, spark("yarn"), 1, 4, has).state for has in (needs, needs - 1, least, least - 1)]
    assert states == ["ok", "warn", "warn", "fail"]


def test_limit_on_address_space_below_what_maps_and_libraries_take_is_refused_with_the_line_to_set() -> None:
    def check(value: str) -> resources.Check:
        told = spark("yarn", spark_executor_pyspark_memory=value, spark_executor_cores="2")
        return resources.check_worker_limit(SETTINGS, told)

    small = check("2g")
    assert small.state == "fail"
    assert "1.0 GiB of address space" in small.found
    enough = re.search(r"set it to (\d+m)$", small.advice)
    assert enough is not None
    assert check(enough[1]).state == "ok"
    assert resources.check_worker_limit(SETTINGS, spark("yarn")).state == "ok"


@pytest.mark.parametrize("name", ["yarn", "kubernetes"])
def test_settings_of_the_project_for_a_cluster_give_enough(name: str) -> None:
    lines = (ROOT / "conf" / "cluster" / f"{name}.conf").read_text().splitlines()
    named = dict(line.split(maxsplit=1) for line in lines if line.startswith("spark."))
    told = SparkSettings.of({**named, "spark.master": name.replace("kubernetes", "k8s:x")}.get)
    assert Executors.of(SETTINGS, told, [int(named["spark.executor.cores"])], 64 << 30).state == "ok"
    assert resources.check_driver(SETTINGS, told).state == "ok"


def test_container_of_the_driver_must_hold_the_process_of_the_job() -> None:
    def check(**settings: str) -> resources.Check:
        return resources.check_driver(SETTINGS, spark("yarn", spark_driver_memory="2g", **settings))

    assert check().state == "ok"  # where the user started it
    small = check(spark_submit_deployMode="cluster")
    assert small.state == "warn"
    enough = re.search(r"set --conf spark\.driver\.memoryOverhead=(\d+m)$", small.advice)
    assert enough is not None
    assert check(spark_submit_deployMode="cluster", spark_driver_memoryOverhead=enough[1]).state == "ok"


def cells(heading: str) -> list[list[str]]:
    return [[cell.strip("`") for cell in row] for row in table(ROOT / "docs" / "cluster.md", heading)]


def test_terms_of_the_docs_are_those_of_the_code() -> None:
    shown = {row[0]: float(row[1].replace(",", "")) for row in cells("Terms")}
    terms = {
        "JVM": memory.JVM,
        "WORKER": memory.WORKER,
        "NETWORK, int8": memory.NETWORK["int8"],
        "NETWORK, float32": memory.NETWORK["float32"],
        "DECODER": memory.DECODER,
        "DRIVER": memory.DRIVER,
        "TENSORFLOW": memory.TENSORFLOW,
        "ADDRESS_SPACE": memory.ADDRESS_SPACE,
    }
    assert shown == {name: size / MIB for name, size in terms.items()}


def test_table_of_sizes_is_what_the_formula_gives() -> None:
    for cores, heap, *shown in cells("Memory"):
        told = spark("yarn", spark_executor_memory=f"{heap}")
        needs = memory.needs(SETTINGS, told, int(cores))
        parts = needs.parts()
        found = [parts["jvm"], parts["python_workers"] + parts["decoders"], parts["mapped_files"], needs.total]
        assert shown == [*(f"{size / 2**30:.1f}" for size in found), f"{-(-(needs.total - told.heap) // MIB)}m"]
