"""The column `eligible`: the predicate `similar.eligible` over the catalogue, and the checks of it.

What a predicate may hold is read from Spark's own tree of it, not from its text: a name in a string is no function.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any, cast

from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import BooleanType

from lookalike import config
from lookalike.errors import CatalogueError, raised_in_worker

# Classes of Spark's expressions that give the same answer for every row, but not for every user, session or cluster.
# The date and the time of the run are allowed: `available_until > current_date()` is a rule of shops.
_OUTSIDE = {
    *("CurrentCatalog", "CurrentDatabase", "CurrentPath", "CurrentTimeZone", "CurrentUser", "SparkVersion"),
    *("SQLFunctionExpression", "SQLScalarFunction", "VariableReference"),
}
_SUBQUERIES = {"Exists", "InSubquery", "LateralSubquery", "ListQuery", "ScalarSubquery"}

# Characters of a predicate, or of what Spark says of it, in a message.
_LONGEST = 200


def eligible_column(frame: DataFrame, predicate: str) -> Column:
    """Return the column `eligible` of a row of the catalogue; where the predicate is null, the item is not eligible.

    Raises CatalogueError.
    """
    check_predicate(frame, predicate)
    return F.coalesce(F.expr(predicate), F.lit(False)).alias(config.ELIGIBLE)


def check_predicate(frame: DataFrame, predicate: str) -> None:
    """Check that `similar.eligible` is true or false for each row, by that row alone; raises CatalogueError."""
    if problem := _problem(frame, predicate):
        raise CatalogueError(f"similar.eligible: '{_one_line(predicate)}' {problem}")


def check_values(items: DataFrame, predicate: str) -> None:
    """Evaluate the predicate on every row: a division by zero would otherwise end a later step."""
    try:
        items.agg(F.count_if(F.col(config.ELIGIBLE))).first()
    except (PySparkException, Py4JJavaError) as error:
        raise raised_in_worker(str(error)) or CatalogueError(
            f"similar.eligible: '{_one_line(predicate)}' fails on a row of the catalogue ({_plain(error)}); "
            "guard it, for example with try_cast or try_divide"
        ) from None


def _problem(frame: DataFrame, predicate: str) -> str | None:
    """Return why the predicate is not true or false for each row, by the row alone; None if it is."""
    try:
        if _class(_parsed(frame, predicate)) in ("Alias", "MultiAlias"):
            return "gives its result a name; leave AS and the name out"
        chosen = frame.select(F.expr(predicate))
        kind, plan = chosen.schema[0].dataType, _plan(chosen)
    except PySparkException as error:
        return _refusal(frame, error)
    except Py4JError:  # a predicate of thousands of brackets fills the stack of Spark's parser
        return "is too deep for Spark's SQL; make it a column of the catalogue"
    if _class(plan) != "Project" or not plan.children().apply(0).fastEquals(_plan(frame)):
        return "needs several rows, or makes several; use the columns of one row"
    if not isinstance(kind, BooleanType):
        return f"is {kind.simpleString()}, not true or false; compare it with a value"
    return next(filter(None, map(_objection, _walk(plan.expressions().apply(0)))), None)


def _objection(part: Any) -> str | None:
    """Return what is wrong with one part of the expression, of which the parts within are seen too."""
    name = _class(part)
    if name in _SUBQUERIES:
        return "has a subquery; make its result a column of the catalogue"
    if name in _OUTSIDE or name.endswith("UDF"):
        return (
            f"calls {part.prettyName().lower()}, which depends on more than the row; use the columns of the catalogue"
        )
    if not part.deterministic() and all(child.deterministic() for child in _children(part)):
        return (
            f"calls {part.prettyName().lower()}, which answers differently each time; use the columns of the catalogue"
        )
    return None


def _refusal(frame: DataFrame, error: PySparkException) -> str:
    """Return what Spark's SQL says against the predicate, in words of SQL."""
    condition, found = error.getCondition() or "", error.getMessageParameters() or {}
    if condition.startswith("UNRESOLVED_COLUMN"):
        name = found.get("objectName", "").replace("`", "")
        near = difflib.get_close_matches(name.lower(), [column.lower() for column in frame.columns], n=1)
        hint = next((f"did you mean '{column}'? " for column in frame.columns if column.lower() in near), "")
        return f"names the column '{name}', which the catalogue lacks; {hint}it has: {', '.join(frame.columns)}"
    if condition == "UNRESOLVED_ROUTINE":
        return f"calls '{found.get('routineName', '').replace('`', '')}', which is no function of Spark's SQL"
    if condition == "UNBOUND_SQL_PARAMETER":
        return "has a parameter; write the value"
    if condition == "PARSE_SYNTAX_ERROR":
        return f"is no SQL predicate: syntax error at {found.get('error')}"
    return f"is no SQL predicate over the catalogue: {_plain(error)}; it has: {', '.join(frame.columns)}"


def _plain(error: Exception) -> str:
    """Return the first sentence of a message of Spark's, without the name of its condition and without its stack."""
    said = re.search(r"\[[A-Z0-9_.]+\]\s*(.+?)(?:\.\s|\.?\s*SQLSTATE|\.?\n|$)", str(error))
    return _one_line(said[1] if said else type(error).__name__)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


# ---- Spark's tree


def _parsed(frame: DataFrame, predicate: str) -> Any:
    session = cast(Any, frame.sparkSession)
    return session._jsparkSession.sessionState().sqlParser().parseExpression(predicate)


def _plan(frame: DataFrame) -> Any:
    return cast(Any, frame)._jdf.queryExecution().analyzed()


def _class(node: Any) -> str:
    name: str = node.getClass().getSimpleName()
    return name


def _children(node: Any) -> list[Any]:
    children = node.children()
    return [children.apply(number) for number in range(children.size())]


def _walk(node: Any) -> Iterator[Any]:
    waiting = [node]
    while waiting:  # a tree may be deeper than Python's stack
        node = waiting.pop()
        yield node
        waiting += _children(node)
