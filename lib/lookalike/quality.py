"""What a release must pass before it is published, and what is measured of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from lookalike import churn, config, recall, schemas
from lookalike.diff import Before
from lookalike.recall import GroupRecall
from lookalike.tables import read


@dataclass(frozen=True)
class Tables:
    """The tables of a release."""

    embeddings: DataFrame
    failures: DataFrame
    similar_items: DataFrame
    duplicates: DataFrame | None = None  # there when similar.duplicate_cosine is set
    # Item ids whose lists may have moved for a reason; None where nobody can tell, and no list is held to the last one.
    restless: DataFrame | None = None


@dataclass(frozen=True)
class Figures:
    """What a release holds, and how good it is."""

    items: int
    embedded: int
    failed: int
    failed_by_reason: dict[str, int]
    failed_example: str | None
    similar_items: int
    recall: float  # estimated on `recall_sample` items
    recall_sample: int
    recall_low: float  # of the 95 % interval
    recall_high: float
    recall_pairs: int  # neighbours that the sampled items should have
    recall_missed: int  # of these
    recall_groups: tuple[GroupRecall, ...] = ()  # the worst ones
    items_before: int | None = None  # in the current release
    unusable_vectors: int = 0  # zero, or not finite
    duplicate_vectors: int = 0  # equal to another item's, all but the first of each kind
    hub_item: str | None = None  # whom most lists recommend
    hub_recommended: int = 0  # by how many
    churn_checked: int = 0
    churn_moved: int = 0


@dataclass(frozen=True)
class Gate:
    """One check, with its figure and its threshold."""

    name: str
    figure: float
    threshold: float
    passed: bool
    detail: str = ""

    def line(self) -> str:
        """For a person."""
        verdict = "passed" if self.passed else "REFUSED"
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.name}: {self.figure:.4f}, threshold {self.threshold:g}: {verdict}{detail}"


@dataclass(frozen=True)
class Precision:
    """How often neighbours share a column's value with the item, beside what random items would."""

    column: str
    at_k: float
    chance: float


def measure(tables: Tables, settings: config.Settings, before: Before | None = None) -> Figures:
    """Count the tables of a staged release, look at its vectors and lists, and compare it to the current release."""
    # Small queries, whose time is Spark's planning: side by side they take half as long.
    with ThreadPoolExecutor(thread_name_prefix="measure") as pool:
        vectors = pool.submit(_vectors, tables.embeddings)
        hub = pool.submit(_hub, tables.similar_items)
        churned = pool.submit(_churn, tables, settings, before)
        found = pool.submit(recall.estimate, tables.embeddings, tables.similar_items, settings, tables.duplicates)
        reasons = {row["reason"]: row["count"] for row in tables.failures.groupBy("reason").count().collect()}
        example = _example(tables.failures) if reasons else None
    embedded = vectors.result()["embedded"]
    return Figures(
        items=embedded + sum(reasons.values()),
        embedded=embedded,
        failed=sum(reasons.values()),
        failed_by_reason=dict(sorted(reasons.items())),
        failed_example=example,
        similar_items=hub.result()["rows"],
        recall=round(found.result().estimate, 5),
        recall_sample=found.result().items,
        recall_low=round(found.result().low, 5),
        recall_high=round(found.result().high, 5),
        recall_pairs=found.result().pairs,
        recall_missed=found.result().missed,
        recall_groups=found.result().groups,
        items_before=before.record["counts"]["items"] if before else None,
        unusable_vectors=vectors.result()["unusable"],
        duplicate_vectors=embedded - vectors.result()["different"],
        hub_item=hub.result()["item_id"],
        hub_recommended=hub.result()["recommended"] or 0,
        churn_checked=churned.result().checked,
        churn_moved=churned.result().moved,
    )


def _vectors(embeddings: DataFrame) -> Row:
    """How many there are, how many are zero or not finite (the length before scaling tells), how many differ."""
    norm = F.col("norm")
    bad = norm.isNull() | F.isnan(norm) | (norm == 0) | (norm == F.lit(float("inf")))
    found = embeddings.agg(
        F.count("*").alias("embedded"),
        F.count_if(bad).alias("unusable"),
        F.count_distinct(F.xxhash64("embedding")).alias("different"),
    ).first()
    assert found is not None  # an aggregate without keys has one row
    return found


def _hub(similar_items: DataFrame) -> Row:
    """How many rows there are, and the item that is recommended most, equal pictures apart.

    Items that share a placeholder all recommend the few of them whose ids come first.
    """
    other = F.count_if(F.col("score") < F.lit(1 - churn.TIE))
    found = (
        similar_items.groupBy("similar_item_id")
        .agg(F.count("*").alias("count"), other.alias("other"))
        .agg(
            F.coalesce(F.sum("count"), F.lit(0)).alias("rows"), F.max(F.struct("other", "similar_item_id")).alias("hub")
        )
        .select("rows", F.col("hub.similar_item_id").alias("item_id"), F.col("hub.other").alias("recommended"))
        .first()
    )
    assert found is not None
    return found


def _churn(tables: Tables, settings: config.Settings, before: Before | None) -> churn.Churn:
    """Against the current release, when both searched exactly, by the same rules."""
    if before is None or tables.restless is None:
        return churn.Churn(0, 0)
    spark = tables.embeddings.sparkSession
    old = churn.Lists(
        before.embeddings.join(tables.embeddings.select("model_id").limit(1), on="model_id", how="left_semi"),
        read(spark, before.release.similar_items, schema=schemas.SIMILAR_ITEMS),
    )
    new = churn.Lists(tables.embeddings, tables.similar_items)
    return churn.measure(old, new, settings.similar, tables.restless)


def _example(failures: DataFrame) -> str | None:
    """One failed picture of the commonest reason, for whoever has to find out why."""
    common = failures.groupBy("reason").count().orderBy(F.desc("count"), "reason").limit(1).select("reason")
    row = failures.join(common, on="reason", how="left_semi").orderBy("item_id").first()
    return f"{row['image_path']}: {row['reason']}, {row['detail']}" if row else None


def gates(figures: Figures, settings: config.Settings) -> list[Gate]:
    """Every gate, passed or not."""
    limits = settings.gates
    before = figures.items_before or 0
    lost = _share(max(0, before - figures.items), before)
    hub = figures.hub_recommended / settings.similar.k
    return [
        _at_most("gates.max_failed_share", _share(figures.failed, figures.items), limits, _reasons(figures)),
        _at_most("gates.max_items_lost", lost, limits, f"{before:,} before, {figures.items:,} now"),
        _at_most("gates.max_unusable_vectors", _share(figures.unusable_vectors, figures.embedded), limits),
        _at_most("gates.max_duplicate_vectors", _share(figures.duplicate_vectors, figures.embedded), limits),
        _at_most("gates.max_neighbour_churn", _share(figures.churn_moved, figures.churn_checked), limits),
        _at_most("gates.max_hub", hub, limits, f"item {figures.hub_item}, in units of k" if figures.hub_item else ""),
        _recall(figures, settings.similar),
    ]


def refused(results: Sequence[Gate]) -> list[str]:
    """A line for each gate that was not passed."""
    return [gate.line() for gate in results if not gate.passed]


def _at_most(name: str, figure: float, limits: config.Gates, detail: str = "") -> Gate:
    threshold = float(getattr(limits, name.partition(".")[2]))
    return Gate(name, figure, threshold, figure <= threshold, detail)


def _recall(figures: Figures, similar: config.Similar) -> Gate:
    """The lower bound reaches the floor.

    A floor that no sample of this size can prove, 1.0 above all, is passed by a sample without a miss only.
    """
    low, floor = figures.recall_low, similar.recall_floor
    passed = low >= floor or (figures.recall == 1 and not figures.recall_missed)
    detail = (
        f"estimate {figures.recall:.4f}, 95 % interval {low:.4f} to {figures.recall_high:.4f} on "
        f"{figures.recall_sample:,} of {figures.embedded:,} items{_worst(figures)}"
    )
    return Gate(
        "similar.recall_floor", low, floor, passed, detail if passed else f"{detail}; {_advice(figures, similar)}"
    )


def _worst(figures: Figures) -> str:
    if not figures.recall_groups or not figures.recall_missed:
        return ""
    worst = figures.recall_groups[0]
    name = "without a value" if worst.group is None else repr(worst.group)
    return f"; worst group {name} {worst.estimate:.4f}"


def _advice(figures: Figures, similar: config.Similar) -> str:
    if figures.recall >= similar.recall_floor:
        return "a larger similar.recall_sample may prove it"
    if similar.plan == "exact":
        return "an exact search misses nothing: run again, the table is damaged"
    return "set similar.plan: exact, or a lower similar.recall_floor"


def _share(part: int, whole: int) -> float:
    return part / max(1, whole)


def _reasons(figures: Figures) -> str:
    counts = ", ".join(f"{reason} {count:,}" for reason, count in figures.failed_by_reason.items())
    return f"{counts}; for example {figures.failed_example}" if counts else ""


def precision(embeddings: DataFrame, similar: DataFrame, column: str, k: int) -> Precision:
    """Precision at k by `column` over all items, nulls left out; raises nothing for a column of one value."""
    labels = embeddings.select("item_id", F.col(f"`{column}`").alias("label")).where("label IS NOT NULL")
    theirs = labels.select(F.col("item_id").alias("similar_item_id"), F.col("label").alias("other"))
    at_k = (
        similar.where(F.col("rank") <= k)
        .join(labels, on="item_id", how="inner")
        .join(theirs, on="similar_item_id", how="inner")
        .agg(F.avg((F.col("label") == F.col("other")).cast("double")).alias("share"))
        .first()
    )
    counts = labels.groupBy("label").count()
    pairs = F.sum(F.col("count") * (F.col("count") - 1))
    chance = counts.agg(F.try_divide(pairs, F.sum("count") * (F.sum("count") - 1)).alias("share")).first()
    return Precision(column, *(round(float((row and row["share"]) or 0), 3) for row in (at_k, chance)))
