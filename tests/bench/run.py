"""`make bench`: pictures a second of the usual recipe, a peer's pipeline, this project and OpenVINO; and the nights.

Each contender is a script of this folder, run alone in a fresh process, one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, TypeVar

import contender
import pictures
import variations
from contender import CACHE

import report

BUNDLED_SIZE = 112  # what the bundled weights were made for
MEMORY_PICTURES = 48  # as many as reach the peak: a worker holds a few pictures at a time, whatever their number
PACKAGES = (
    *("pyspark", "tensorflow-cpu", "tensorflow", "ai-edge-litert", "openvino", "numpy", "pillow", "pyarrow"),
    *("annoy", "daft", "faiss-cpu", "hnswlib", "pynndescent"),  # of the peers, some of them in run_similar.py
)
CPU_FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "amx_bf16", "asimddp", "i8mm")


@dataclass(frozen=True)
class Contender:
    """A name in the table: which script, on which pictures, in which precision, with which engine of ours."""

    name: str
    script: str
    pictures: str = "plain"
    precision: str = "int8"
    engine: str = "litert"
    compiled: bool = True  # whether it needs a compiled model
    input_size: int | None = None  # None: that of `--input-size`
    variables: tuple[tuple[str, str], ...] = ()  # of its environment


CONTENDERS = (
    Contender("recipe", "recipe", compiled=False),
    Contender("peer-int8-openvino", "peer", engine="openvino"),
    Contender("job", "job", compiled=False),
    Contender("ours-float32", "ours", precision="float32"),
    Contender("ours-float32-openvino", "ours", precision="float32", engine="openvino"),
    Contender("ours-int8", "ours"),
    Contender("ours-int8-openvino", "ours", engine="openvino"),
    Contender("pipeline-int8", "pipeline"),
    Contender("bare-float32", "bare", precision="float32"),
    Contender("bare-int8", "bare"),
    Contender("bare-int8-openvino", "bare", engine="openvino"),
    Contender("openvino-float32", "openvino_ceiling", precision="float32"),
    Contender("openvino-int8", "openvino_ceiling"),
    # On a CPU with AMX: what its other units give
    Contender("openvino-int8-vnni", "openvino_ceiling", variables=(("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI"),)),
    Contender("large-recipe", "recipe", pictures="large", compiled=False),
    Contender("large-ours-int8", "ours", pictures="large"),
    Contender("large-ours-int8-openvino", "ours", pictures="large", engine="openvino"),
    Contender("large-pipeline-int8", "pipeline", pictures="large"),
    Contender("large-bare-int8", "bare", pictures="large"),
    Contender("large-bare-int8-openvino", "bare", pictures="large", engine="openvino"),
    Contender("memory", "ours", pictures="huge"),
    Contender("memory-cutouts", "ours", pictures="cutouts"),
    Contender("fidelity", "fidelity", compiled=False, input_size=BUNDLED_SIZE),
    Contender("nights", "nights", pictures="varied", compiled=False, input_size=BUNDLED_SIZE),
    Contender("nights-peer", "peer", pictures="varied", engine="openvino", input_size=BUNDLED_SIZE),
)


def main() -> int:
    """Run what was asked for, print it, write it; 1 when a contender could not run, whatever the thresholds say."""
    options = arguments().parse_args()
    chosen = choose(options.only, CONTENDERS)
    CACHE.mkdir(parents=True, exist_ok=True)
    facts = {"machine": machine(), "settings": settings(options), "started": now()}
    work = Path(tempfile.mkdtemp(dir=CACHE, prefix="work-"))
    try:
        sets = picture_sets(chosen, options)
        plain = task(sets["plain"], options, work)
        compiled = compile_models([told(one, plain) for one in chosen if one.compiled])
        results = {one.name: run(one, replace(told(one, plain), **sets[one.pictures])) for one in chosen}
    finally:
        shutil.rmtree(work, ignore_errors=True)
    shown = (report.speed_table(results), report.nights_table(results), report.goal_table(results))
    print("", *filter(None, shown), sep="\n\n")
    write(options.out, {**facts, "compiled": compiled, "contenders": results, "goals": report.goals(results)})
    return int(any("error" in figures for figures in (*compiled.values(), *results.values())))


def arguments() -> argparse.ArgumentParser:
    """The options of `make bench`, for those who run this file themselves."""
    parser = argparse.ArgumentParser(description="Benchmark of the embed step.")
    # 3,072 pictures: twenty seconds of int8 on two cores, beside some ten of starting Spark
    parser.add_argument("--pictures", type=int, default=3072, help="pictures of the main set (%(default)s)")
    parser.add_argument("--large", type=int, default=1500, help="JPEGs of 1,500 x 2,000 pixels (%(default)s)")
    parser.add_argument("--varied", type=int, default=100_000, help="pictures of the nights (%(default)s)")
    parser.add_argument("--nights", type=int, default=1, help="nights on which 1 %% of them change (%(default)s)")
    parser.add_argument("--beside", default="", help="another checkout, whose nights are run next to these")
    parser.add_argument("--input-size", type=int, default=224, help="side of the network's input (%(default)s)")
    parser.add_argument("--only", default="*", help=f"names or patterns, with commas, of: {', '.join(names())}")
    parser.add_argument("--out", type=Path, default=CACHE / "embed.json", help="the JSON file (build/bench/embed.json)")
    return parser


def names() -> list[str]:
    """All contenders."""
    return [one.name for one in CONTENDERS]


class Named(Protocol):
    """A contender of any benchmark."""

    @property
    def name(self) -> str:
        """What `--only` calls it."""


AnyContender = TypeVar("AnyContender", bound=Named)


def choose(only: str, contenders: Sequence[AnyContender]) -> list[AnyContender]:
    """Those of `contenders` that a list of patterns names; exits with a message when a pattern names none."""
    patterns = only.split(",")
    for pattern in patterns:
        if not any(fnmatch(one.name, pattern) for one in contenders):
            sys.exit(f"--only {pattern}: there is {', '.join(one.name for one in contenders)}")
    return [one for one in contenders if any(fnmatch(one.name, pattern) for pattern in patterns)]


def picture_sets(chosen: Iterable[Contender], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Where the pictures of each set lie and how many there are; what nobody has chosen is not made."""
    wanted = {one.pictures for one in chosen}
    say(f"pictures: {options.pictures:,} {pictures.source()}")
    enough = pictures.are_enough(options.pictures)
    plain = (pictures.plain if enough else variations.made)(CACHE, options.pictures)
    folders = {"plain": plain}
    if "varied" in wanted:
        say(f"pictures: {options.varied:,} variations")
        folders["varied"] = variations.made(CACHE, options.varied)
    if "large" in wanted:
        say(f"pictures: {options.large:,} large")
        folders["large"] = pictures.large(CACHE, options.large, plain)
    if "huge" in wanted:
        folders["huge"] = pictures.huge(CACHE, MEMORY_PICTURES, plain)
    if "cutouts" in wanted:
        folders["cutouts"] = pictures.cutouts(CACHE, MEMORY_PICTURES, plain)
    sets = {}
    for name, folder in folders.items():
        files = pictures.paths(folder)
        for path in files:
            path.read_bytes()  # into the page cache, so that the first contender is not the one to wait for the disk
        sets[name] = {"catalogue": str(folder), "pictures": len(files)}
    return sets


def task(plain: dict[str, Any], options: argparse.Namespace, work: Path) -> contender.Task:
    """What the contenders are told, but for what sets them apart."""
    beside = str(Path(options.beside).resolve()) if options.beside else ""
    told = {"input_size": options.input_size, "nights": options.nights, "beside": beside}
    return contender.Task(**plain, **told, cores=cores(), work=str(work))


def told(one: Contender, plain: contender.Task) -> contender.Task:
    """What sets a contender apart, but for its pictures."""
    size = one.input_size or plain.input_size
    return replace(plain, precision=one.precision, engine=one.engine, input_size=size)


def compile_models(tasks: Iterable[contender.Task]) -> dict[str, dict[str, Any]]:
    """The models that the contenders need, in the warehouse; calibrated on the plain pictures."""
    wanted = {f"{one.precision} {one.engine} {one.input_size}": one for one in tasks}
    return {name: attempt(f"compile {name}", "prepare", one) for name, one in sorted(wanted.items())}


def run(one: Contender, task: contender.Task) -> dict[str, Any]:
    """One contender's figures, or its error."""
    return {"pictures": task.pictures, "load": load()} | attempt(one.name, one.script, task, **dict(one.variables))


def attempt(name: str, script: str, told: contender.Task, **variables: str) -> dict[str, Any]:
    """What a script found, said in one line; a failure is a result too."""
    log = CACHE / f"{name.replace(' ', '-')}.log"
    start = time.perf_counter()
    try:
        figures = contender.start(script, told, log, **variables)
    except contender.ContenderError as error:
        say(f"{name}: {error}")
        return {"error": str(error)}
    shown = ", ".join(f"{key} {value}" for key, value in figures.items() if value is not None)
    say(f"{name}: {shown} ({time.perf_counter() - start:.0f} s)")
    return figures


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """What was asked for."""
    named = ("pictures", "large", "varied", "nights", "beside", "input_size", "only")
    asked = {name: getattr(options, name) for name in named}
    return {**asked, "source": pictures.source()}


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    cpu = cpu_info(Path("/proc/cpuinfo"))
    return {
        "cpu": cpu.get("model name", platform.processor()),
        "cpu_flags": [flag for flag in CPU_FLAGS if flag in cpu.get("flags", cpu.get("Features", "")).split()],
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := version_of(name))},
    }


def cpu_info(path: Path) -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty where there is no such file."""
    if not path.exists():
        return {}
    lines = path.read_text().partition("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def version_of(package: str) -> str | None:
    """None when it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def load() -> float:
    """How busy the machine is with other things, before a contender starts: processes over the last minute."""
    return round(os.getloadavg()[0], 1)


def now() -> str:
    """UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write(path: Path, record: dict[str, Any]) -> None:
    """The whole record as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")
    say(f"written: {path}")


def say(text: str) -> None:
    """One line of progress."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
