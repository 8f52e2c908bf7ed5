"""Answers as HTML for notebooks: pictures with scores and labels; all that comes from the catalogue is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import pyarrow as pa

from lookalike.redaction import redacted
from lookalike.safe_text import escaped, shortened
from lookalike.serving.gallery import Card, Gallery

if TYPE_CHECKING:
    from lookalike.serving.results import Neighbours

# Pictures of one answer: three rows of a notebook as wide as a page, 80 kB.
PICTURES = 24
# Neighbours of each list, where several are shown.
NEIGHBOURS = 5

_SIDE = 112
_LONGEST = 60

# Colours of the notebook, light or dark. Styles of its own in each element: several hosts remove a style sheet.
_ROW = "display:flex;flex-wrap:wrap;gap:8px;margin:0 0 12px"
_FIGURE = f"margin:0;width:{_SIDE}px;font-size:11px;line-height:1.35;overflow-wrap:anywhere"
_FRAME = f"display:flex;align-items:center;width:{_SIDE}px;height:{_SIDE}px;margin-bottom:4px"
_NONE = (
    f"{_FRAME};justify-content:center;box-sizing:border-box;border:1px dashed currentColor;opacity:.6;padding:4px;"
    "text-align:center"
)


def of_lists(lists: Sequence[Neighbours], gallery: Gallery) -> str:
    """Return the first lists as rows of pictures: the item that was asked for, then its neighbours, best first."""
    if len(lists) == 1:
        shown, width = [lists[0]], PICTURES - 1
    else:
        width = NEIGHBOURS
        shown = [lists[place] for place in range(min(len(lists), PICTURES // (width + 1)))]
    queries = [one.item_id for one in shown if one.item_id is not None]
    cards = gallery.cards([*queries, *(found.item_id for one in shown for found in one[:width])])
    rows = [_row(_figures_of(one, width, cards), len(one) - width, "neighbour") for one in shown]
    return _whole(rows, len(lists) - len(shown), "list")


def of_items(item_ids: pa.ChunkedArray, gallery: Gallery) -> str:
    """Return the first items as a row of pictures."""
    shown = item_ids.slice(0, PICTURES).to_pylist()
    cards = gallery.cards(shown)
    figures = [_figure(one, cards.get(one, Card())) for one in shown]
    return _whole([_row(figures, len(item_ids) - len(shown), "item")], 0, "")


def _figures_of(neighbours: Neighbours, width: int, cards: Mapping[str, Card]) -> list[str]:
    item = neighbours.item_id
    own = [] if item is None else [_figure(item, cards.get(item, Card()), "<b>asked for</b>")]
    found = (
        _figure(one.item_id, cards.get(one.item_id, Card()), f"<b>{rank}</b>&ensp;{one.score:.3f}")
        for rank, one in zip(neighbours.ranks, neighbours[:width], strict=False)
    )
    return [*own, *found] or ["<i>no neighbours</i>"]


def _figure(item_id: str, card: Card, head: str = "") -> str:
    """Return an item; `head` is HTML."""
    if card.picture is not None:
        picture = (
            f'<div style="{_FRAME}"><img src="{escape(card.picture)}" alt="{_text(item_id)}" '
            f'style="max-width:{_SIDE}px;max-height:{_SIDE}px;margin:0"></div>'
        )
    else:
        code = card.problem.partition(":")[0]  # such as not_found; other problems are of the whole release
        why = code if code.isidentifier() else "no picture"
        reason = f' title="{_text(card.problem, 200)}"' if card.problem else ""
        picture = f'<div style="{_NONE}"{reason}>{_text(why)}</div>'
    lines = [head, _text(item_id), *(_text(label) for label in card.labels)]
    caption = "<br>".join(line for line in lines if line)
    return f'<figure style="{_FIGURE}">{picture}<figcaption>{caption}</figcaption></figure>'


def _row(figures: Iterable[str], left_out: int, what: str) -> str:
    return f'<div style="{_ROW}">{"".join(figures)}</div>{_more(left_out, what)}'


def _more(count: int, what: str) -> str:
    return f'<p style="font-size:12px">… and {count:,} more {what}{"s" if count > 1 else ""}</p>' if count > 0 else ""


def _whole(rows: Iterable[str], left_out: int, what: str) -> str:
    return f'<div class="lookalike">{"".join(rows)}{_more(left_out, what)}</div>'


def _text(text: str, longest: int = _LONGEST) -> str:
    """Return a text of strangers as HTML: no secrets, no markup, no characters that move what stands around them."""
    return escape(shortened(escaped(redacted(text, queries=False)), longest))
