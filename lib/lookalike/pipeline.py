"""The nightly run, step by step: read, embed, find neighbours, check the quality, publish."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from lookalike import config
from lookalike.catalogue.convert import Place
from lookalike.catalogue.delta import Delta, compare_to_release, earlier_releases
from lookalike.catalogue.files import local_path
from lookalike.catalogue.objects import find_objects
from lookalike.catalogue.read import read_catalogue
from lookalike.catalogue.rows import check_rows
from lookalike.embedding.checkpoints import Checkpoints
from lookalike.embedding.reading import Reading
from lookalike.embedding.step import sample_pictures, with_fingerprint, write_embeddings
from lookalike.embedding.tables import EmbeddedTables, EmbedRun
from lookalike.errors import WarehouseError
from lookalike.estimates import of_long_run
from lookalike.index.changes import IndexInputs
from lookalike.index.step import build_index, reuse_index
from lookalike.models import store as model_store
from lookalike.models.compile import check_fidelity, find_or_compile
from lookalike.models.network import CompiledModel
from lookalike.neighbours.duplicates import reuse_duplicates, write_duplicates
from lookalike.neighbours.groups import check_memory
from lookalike.neighbours.incremental import NeighbourChanges, find_changes, with_groups
from lookalike.neighbours.step import NeighbourTables, PreviousRelease, reuse_neighbours, write_neighbours
from lookalike.progress import Level, Steps, say, say_detail
from lookalike.quality import counts, gates, metrics
from lookalike.report import page, summary
from lookalike.sinks import publishing
from lookalike.sinks.base import Sink
from lookalike.sinks.opening import open_sinks
from lookalike.spark import release_check, release_tables, shared_folder, tasks
from lookalike.spark.release_check import Damage
from lookalike.spark.release_tables import ReleaseTables
from lookalike.storage.prefix import in_store
from lookalike.warehouse import opening
from lookalike.warehouse.local import Warehouse
from lookalike.warehouse.lock import WriteLock
from lookalike.warehouse.record import ReleaseRecord, ShardsRecord
from lookalike.warehouse.release import Staged

# A line for each of so many damaged files.
DAMAGES_NAMED = 5


@dataclass(frozen=True)
class Run:
    """What every step of one run needs: the session, the settings, the release in the making, and the clock."""

    spark: SparkSession
    settings: config.Settings
    warehouse: Warehouse
    staged: Staged
    steps: Steps
    sinks: Sequence[Sink]


@dataclass(frozen=True)
class Inputs:
    """What the run starts from: the model, the current release, and what changed since."""

    model: CompiledModel
    before: ReleaseTables | None
    delta: Delta
    embedding: EmbedRun
    content: Reading | None  # the pictures, where they were read to find what changed

    def same_recipe(self, settings: config.Settings) -> bool:
        """Whether the same pictures would give the current release again."""
        return self.before is not None and not self.before.damaged and self.before.record.made_like(settings)

    @property
    def comparable(self) -> ReleaseTables | None:
        """The current release, where its lists can be compared to new ones: not where some are damaged."""
        return self.before if self.before and not self.before.damaged else None

    @property
    def since(self) -> str | None:
        """The release that the table `changes` tells the changes from."""
        return self.embedding.since.release.release_id if self.embedding.since else None


@dataclass(frozen=True)
class FoundNeighbours:
    """The tables of the search, the duplicates where they are asked for, what changed, and the shards searched in."""

    tables: NeighbourTables
    duplicates: DataFrame | None
    changes: NeighbourChanges | None
    shards: ShardsRecord


def refresh(spark: SparkSession, settings: config.Settings, check_first: Callable[[], None] = lambda: None) -> bool:
    """Publish a release of the catalogue as it is now, or say that there is nothing to do; return which.

    `check_first` is called under the lock of the warehouse, before anything else: it may wait for executors, which
    another run may hold.
    """
    warehouse = opening.open_warehouse(settings)
    with warehouse.writer(settings.warehouse.lock_ttl) as held:
        check_first()
        return _refresh(spark, settings, warehouse, held)


def _refresh(spark: SparkSession, settings: config.Settings, warehouse: Warehouse, held: WriteLock) -> bool:
    sinks = open_sinks(settings, warehouse, lambda: nullcontext(spark))
    with (
        warehouse.stage() as staged,
        shared_folder.all_machines(spark, *_shared(settings, staged)) as check_executors,
    ):
        run = Run(spark, settings, warehouse, staged, Steps(held.check, check_executors), sinks)
        inputs = read(run)
        is_new = not (inputs.before and inputs.delta.is_empty and inputs.same_recipe(settings))
        if inputs.before and not is_new:
            current = inputs.before.release.release_id
            say(f"nothing to do: the release {current} is up to date and stays current", "nothing_to_do")
        else:
            written = embed(run, inputs)
            found = find_neighbours(run, inputs, written)
            record = check_quality(run, inputs, written, found)
            publish(run, record)
        publish_to_sinks(run)
    return is_new


def _shared(settings: config.Settings, staged: Staged) -> tuple[Path | None, dict[str, str]]:
    """Return the folder and the inputs that all machines must see; an object store needs no folder."""
    named = {name: getattr(settings.catalogue, name) for name in ("path", "image_root")}
    inputs = {f"catalogue.{name}": local_path(value) for name, value in named.items()}
    work = None if in_store(settings.warehouse.path) else staged.work
    return work, {name: path for name, path in inputs.items() if path and os.path.isabs(path)}


def read(run: Run) -> Inputs:
    """Read the catalogue, prepare the model, and compare the catalogue to the current release."""
    settings, staged, steps = run.settings, run.staged, run.steps
    with ExitStack() as open_:
        with steps.step("read", f"catalogue {settings.catalogue.path}"):
            fetch_models(run)
            # Meanwhile the other cores, and this one while Spark plans, read the current release.
            damage = open_.enter_context(tasks.beside(run.spark, partial(find_damage, run)))
            copies = staged.work / "catalogue"  # a warehouse on a disk is no place for the copies of other machines
            objects = find_objects(settings, copies, staged.warehouse if staged.shared.in_store else copies)
            items = read_catalogue(run.spark, settings, objects, Place(staged.work / "rows", staged.shared))
            total = check_rows(items, settings)
        with steps.step("model", f"ResNet50, {settings.model.weights} weights, {settings.model.precision}"):
            sample = partial(sample_pictures, items, settings)
            model = find_or_compile(settings.model, run.warehouse.models, sample, settings.images, settings.stores)
            check_fidelity(model, settings.model.min_fidelity)
        with steps.step("delta", f"by {settings.catalogue.change_detection}, against the current release"):
            before = open_current(run, damage.result())
            kept = run.warehouse.checkpoints(staged.parent)
            checkpoints = Checkpoints.open(kept, model.model_id, settings.images, staged.shared)
            earlier = earlier_releases(run.warehouse.releases(), model.model_id, staged.parent)
            embedding = EmbedRun(model, settings, staged, checkpoints, before, earlier)
            items, content = with_fingerprint(items, total, embedding)
            delta = compare_to_release(items, before, model.model_id, settings, staged)
            delta.check_complete(total)
    for line in summary.changes(delta, model.model_id).splitlines():
        say_detail(line)
    return Inputs(model, before, delta, embedding, content)


def fetch_models(run: Run) -> None:
    """Copy what this machine lacks of the models; a damaged one is not used."""
    removed = model_store.remove_damaged(run.warehouse.models)
    run.warehouse.fetch_models()
    for record in [*removed, *model_store.remove_damaged(run.warehouse.models)]:
        say_detail(f"{record} or its artefact was damaged: the model is fetched or compiled again")


def find_damage(run: Run) -> list[Damage]:
    """Return the damaged files of the current release."""
    return release_check.find_damage(run.spark, run.staged.parent) if run.staged.parent else []


def open_current(run: Run, damaged: Sequence[Damage]) -> ReleaseTables | None:
    """Return the current release without its damaged files; say which."""
    if (current := run.staged.parent) is None:
        return None
    for one in damaged[:DAMAGES_NAMED]:
        say_detail(f"the current release is damaged: {one}; its part is made again")
    return release_tables.open_to_refresh(run.spark, current, damaged)


def embed(run: Run, inputs: Inputs) -> EmbeddedTables:
    """Write the release's embeddings and failures."""
    with run.steps.step("embed", f"pictures through model {inputs.model.model_id}"):
        cores = run.spark.sparkContext.defaultParallelism
        if inputs.content is None and (expected := of_long_run(inputs.delta, inputs.model, run.settings, cores)):
            for line in expected.lines(run.staged.work):
                say_detail(line)
        return write_embeddings(inputs.delta, inputs.embedding, inputs.content)


def find_neighbours(run: Run, inputs: Inputs, written: EmbeddedTables) -> FoundNeighbours:
    """Build the index and find the neighbours; reuse those of the current release if no embedding changed."""
    settings, staged, steps, before = run.settings, run.staged, run.steps, inputs.before
    if before and not written.changed and inputs.same_recipe(settings):
        return reuse_current(run, before)
    with steps.step("index", f"Annoy shards of {settings.index.trees} trees"):
        check_memory(written.embeddings, inputs.delta.in_catalogue, settings.similar)
        sources = IndexInputs(written.embeddings, before, written.new_files, written.dropped)
        index = build_index(sources, staged, settings)
        changes = find_changes(run.spark, before, index, settings)
        if changes is not None and refused_for_recall(run, before):
            say_detail("similar.recall_floor refused the last release: all lists are searched again")
            changes = None
    duplicates = None
    if settings.similar.duplicate_cosine is not None:
        with steps.step("duplicates", f"pictures of cosine {settings.similar.duplicate_cosine} and more"):
            known = changes.before.duplicates if changes else None
            found = write_duplicates(run.spark, index, settings, staged, known)
            index = index.with_duplicates
            duplicates, changes = found.table, with_groups(run.spark, index, changes, found.touched, settings)
    with steps.step("neighbours", f"{settings.similar.wanted} neighbours an item"):
        previous = PreviousRelease(changes, inputs.embedding.since)
        tables = write_neighbours(run.spark, index, settings, staged, previous)
    return FoundNeighbours(tables, duplicates, changes, index.counts)


def refused_for_recall(run: Run, before: ReleaseTables | None) -> bool:
    """Whether the run after the current release was refused since its lists missed neighbours, or perhaps was."""
    try:
        last = [
            one.record() for one in run.warehouse.refused() if before and one.release_id > before.release.release_id
        ]
    except WarehouseError:  # its record is damaged, or of another version
        return True
    return any(gate.key == "similar.recall_floor" and not gate.passed for record in last for gate in record.gates)


def reuse_current(run: Run, before: ReleaseTables) -> FoundNeighbours:
    """Reuse the index, the duplicates and the neighbours of the current release."""
    with run.steps.step("neighbours", "index and neighbours of the current release: no embedding changed"):
        shards = reuse_index(run.spark, before, run.staged)
        duplicates = reuse_duplicates(before.duplicates, run.staged) if before.duplicates is not None else None
        return FoundNeighbours(reuse_neighbours(before, run.staged), duplicates, None, shards)


def check_quality(run: Run, inputs: Inputs, written: EmbeddedTables, neighbours: FoundNeighbours) -> ReleaseRecord:
    """Measure the release, check it by the gates, and write its page; return its record."""
    found, settings = neighbours.tables, run.settings
    tables = ReleaseTables(run.staged, written.embeddings, written.failures, found.similar_items, neighbours.duplicates)
    with page.reading(tables, inputs.comparable, settings) as reading:
        findings = measure(run, inputs, tables, neighbours)
        pictures = (written.pictures_read, written.pictures_embedded)
        work = summary.RunFigures(inputs.delta.counts, *pictures, neighbours.shards, found.record(), run.steps.seconds)
        record = summary.record(run.staged, settings, inputs.model, findings, work)
        if reading is None:
            return record
        with run.steps.step("report", "the page"):
            past = page.Past.of(inputs.before, run.warehouse.releases())
            return page.write(reading.result(), record, past, settings, run.staged)


def measure(run: Run, inputs: Inputs, tables: ReleaseTables, neighbours: FoundNeighbours) -> summary.Findings:
    """Measure the tables of the release, and check the figures by the gates."""
    settings, found = run.settings, neighbours.tables
    with run.steps.step("quality", "failures, vectors, neighbours and recall"):
        rows = counts.count_tables(run.staged)
        rows.check_items(inputs.delta.in_catalogue)
        may_differ = found.items_that_may_differ(inputs.comparable, neighbours.changes, settings)
        figures = metrics.measure(tables, settings, inputs.before, may_differ, exact=found.are_exact)
        changes = counts.count_changes(run.spark, run.staged, inputs.since)
        rows.check_read(figures, changes)
        findings = summary.Findings(figures, gates.gates(figures, settings), changes)
    for gate in findings.gates:
        level: Level = "info" if gate.passed else "warning"
        say_detail(gate.line(), "gate", level, key=gate.key, figure=gate.figure, bound=gate.bound, passed=gate.passed)
    return findings


def publish(run: Run, record: ReleaseRecord) -> None:
    """Make the release the current one; raises GateError when a gate refused it."""
    with run.steps.step("publish", f"release {run.staged.release_id}"):
        record = record.model_copy(update={"files": release_check.write_files_json(run.staged)})
        if not record.refusals:
            publishing.prepare(run.sinks, run.staged)
        run.warehouse.publish(run.staged, record.after(run.steps.seconds))
    place = run.warehouse.place_of(run.staged)
    *lines, last = summary.summary(record.after(run.steps.seconds), place)
    for line in lines:
        say(line, "summary")
    say(last, "published", release_id=run.staged.release_id, place=place)


def publish_to_sinks(run: Run) -> None:
    """Make the sinks show the current release, also when there is nothing new: the run before may have failed to."""
    if run.sinks:
        with run.steps.step("sinks", ", ".join(sink.name for sink in run.sinks)):
            publishing.publish(run.sinks, run.warehouse.need_current())
