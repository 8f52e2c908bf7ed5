"""How many tasks may run at once: from Spark's settings, never from the executors that happen to be there.

Under dynamic allocation Spark's own count follows the executors: a run of 10 million items saw 2 cores, 8, and 2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

SETTING = "spark.default.parallelism"

_LOCAL_CLUSTER = re.compile(r"local-cluster\[\s*(\d+)\s*,\s*(\d+)\s*,\s*\d+\s*\]")

# What Spark takes on YARN and Kubernetes where the settings do not say: so many executors, of one core.
_EXECUTORS = 2

# The parts of a shuffle, which Spark's users set by the size of their cluster; 200 is Spark's own default.
_PARTS = "spark.sql.shuffle.partitions", 200


def session_settings(conf: Mapping[str, str]) -> dict[str, str]:
    """Return the setting that makes Spark's count the same for the whole run; none for a master on one machine.

    `conf` are the settings that the session starts with.
    """
    master = conf.get("spark.master", "local")
    if SETTING in conf or (master.startswith("local") and not _LOCAL_CLUSTER.match(master)):
        return {}
    return {SETTING: str(_tasks_at_once(master, conf))}


def _tasks_at_once(master: str, conf: Mapping[str, str]) -> int:
    """How many tasks the executors that the settings allow can run; where these set no limit, the shuffle's parts."""
    if (local := _LOCAL_CLUSTER.match(master)) is not None:
        cores: int | None = int(local[1]) * int(local[2])
    else:
        cores = min(
            (some for some in (_number(conf, "spark.cores.max"), _of_executors(master, conf)) if some), default=None
        )
    if cores is None:
        return _number(conf, _PARTS[0]) or _PARTS[1]
    return max(1, cores // (_number(conf, "spark.task.cpus") or 1))


def _of_executors(master: str, conf: Mapping[str, str]) -> int | None:
    """The cores of all executors that there may be; None where the settings do not tell."""
    asks = master.startswith(("yarn", "k8s:"))  # a standalone cluster gives what it has
    if conf.get("spark.dynamicAllocation.enabled") == "true":
        executors = _number(conf, "spark.dynamicAllocation.maxExecutors")
    else:
        executors = _number(conf, "spark.executor.instances") or (_EXECUTORS if asks else None)
    each = _number(conf, "spark.executor.cores") or (1 if asks else None)
    return executors * each if executors and each else None


def _number(conf: Mapping[str, str], name: str) -> int | None:
    """Return a setting; None where it is missing, or no number: Spark refuses it itself, and `infinity` is no limit."""
    value = conf.get(name, "").strip()
    return int(value) if value.isdecimal() else None
