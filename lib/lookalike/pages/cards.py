"""Items as pages show them: a card for each, in rows of an item and its neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lookalike.images.thumbnails import Thumbnail


@dataclass(frozen=True)
class Label:
    """The value of a kept column; whether it differs from that of the item of the row."""

    text: str
    differs: bool


@dataclass(frozen=True)
class Card:
    """An item with its picture; `note` is its score or what else there is to say, `mark` whether it came or went.

    `href` leads to the item, and `more` to what there is to say of the note, where the page has such links.
    """

    item_id: str
    thumbnail: Thumbnail
    labels: Sequence[Label]
    note: str = ""
    mark: str = ""
    href: str = ""
    more: str = ""


@dataclass(frozen=True)
class CardList:
    """Cards of neighbours, with a `title` where a row has two lists."""

    title: str
    cards: Sequence[Card]


@dataclass(frozen=True)
class PictureRow:
    """An item and its neighbours: now, or before and now."""

    asked: Card
    lists: Sequence[CardList]


def labels(own: Sequence[str], others: Sequence[str] | None = None) -> Iterator[Label]:
    """Yield the labels of an item that are not empty; those differ that are not the same in `others`."""
    compared = others if others is not None and len(others) == len(own) else own
    for text, other in zip(own, compared, strict=True):
        if text:
            yield Label(text, text != other)
