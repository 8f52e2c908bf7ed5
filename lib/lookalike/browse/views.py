"""What each view of a release shows: the name of its template, and what that is filled with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow.dataset as ds

from lookalike.browse import changes, showing
from lookalike.browse.changes import Changes
from lookalike.browse.held import MOST_FAILURES, HeldRelease
from lookalike.browse.history import Histories, label_columns
from lookalike.browse.links import Links, Pager
from lookalike.browse.pictures import Pictures
from lookalike.browse.shelf import Shelf
from lookalike.browse.showing import Showing
from lookalike.browse.worst import KINDS, Worst
from lookalike.errors import QueryError, UnknownItemError
from lookalike.failures import ADVICE
from lookalike.pages import words
from lookalike.pages.failed import FailedItem, FailureGroup
from lookalike.serving.questions import ALL_GROUPS

CARDS = 48  # of a page of items
ROWS = 10  # of a page of rows of pictures
GROUPS = 20
_COMPARED = 4  # comparisons that are kept
_FOUND = 24  # neighbours of a picture
_SAMPLED = 6
_OF_GROUP = 4
_FAILED_EXAMPLES = 20
_CHOICES = 200  # groups that a form offers


@dataclass(frozen=True)
class View:
    """A filled page: its template, its title, and what it shows; `status` is that of HTTP."""

    template: str
    title: str
    shown: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


Arguments = Mapping[str, str]


class Views:
    """All views, by their names in the address."""

    def __init__(self, shelf: Shelf, pictures: Pictures) -> None:
        self._shelf = shelf
        self._pictures = pictures
        self._histories = Histories()
        self._comparisons: dict[tuple[str, str], Changes] = {}
        self.by_name: dict[str, Callable[[HeldRelease, Arguments], View]] = {
            "": self.home,
            "find": self.find,
            "item": self.item,
            "why": self.why,
            "like": self.like,
            "groups": self.groups,
            "group": self.group,
            "worst": self.worst,
            "failures": self.failures,
            "changes": self.changes,
            "releases": self.releases,
        }

    def home(self, held: HeldRelease, _arguments: Arguments) -> View:
        """A release: its verdict, its counts, and a few items."""
        before = next((one for one in self._shelf.records() if one.release_id == held.record.parent), None)
        sampled = [int(rows[0]) for _, rows in held.groups[:_SAMPLED]] or list(range(min(_SAMPLED, len(held.items))))
        show = Showing(held)
        return View(
            "home.html",
            "",
            {
                "counts": words.counts(held.record, before),
                "before": before,
                "gates": words.gates(held.record.gates),
                "rows_shown": [show.row(one) for one in sampled],
                "group_names": group_names(held),
            },
        )

    def find(self, held: HeldRelease, arguments: Arguments) -> View:
        """Items by a part of the id, or by words of the kept columns."""
        question = arguments.get("q", "")
        found = held.items.find(question)
        pager = _pager(held, "find", arguments, CARDS, len(found), q=question)
        failed = held.failures_with(question.strip()[:200], _FAILED_EXAMPLES) if question.strip() else []
        shown = {"question": question, "pager": pager, "failed": failed}
        return View("find.html", "Find", {**shown, "cards": Showing(held).cards(found[pager.shown].tolist())})

    def item(self, held: HeldRelease, arguments: Arguments) -> View:
        """An item, large, and its neighbours."""
        item_id = _need(arguments, "id")
        row = held.items.row(item_id)
        if row is None:
            return _without_embedding(held, item_id)
        show = Showing(held)
        shown = {
            "item_id": item_id,
            "labels": held.items.labels_of(row),
            "eligible": held.items.eligible[row].as_py() == "true" if held.items.eligible is not None else None,
            "path": held.items.paths[row].as_py() or "",
            "large": show.links.picture(item_id, "large"),
            "cards": show.neighbours(row),
            "lists": int((held.lists.others == row).sum()),
        }
        return View("item.html", item_id, shown)

    def why(self, held: HeldRelease, arguments: Arguments) -> View:
        """Why one item is in the list of another, or is not."""
        item_id, other_id = _need(arguments, "id"), _need(arguments, "other")
        said = held.release.why(item_id, other_id)
        show = Showing(held)
        rows = [held.items.row(one) for one in (item_id, other_id)]
        like = held.items.labels_of(rows[0]) if rows[0] is not None else None
        cards = [show.card(row, like=like) for row in rows if row is not None]
        return View("why.html", "Why", {"why": said, "cards": cards, "item_id": item_id, "other_id": other_id})

    def like(self, held: HeldRelease, arguments: Arguments) -> View:
        """The items nearest to a picture that somebody gave."""
        key, group = _need(arguments, "picture"), arguments.get("group", "")
        vector = self._pictures.vector(held, key)
        if vector is None:
            raise QueryError(
                "this picture is not kept any more, or was embedded by another network; search by it again"
            )
        found = held.release.search(vector, _FOUND, group if group and held.group_by else ALL_GROUPS)
        show = Showing(held)
        rows = [(held.items.row(one.item_id), one.score) for one in found]
        cards = [show.card(row, showing.Notes(f"{score:.3f}")) for row, score in rows if row is not None]
        shown = {"asked": f"/asked/{key}", "cards": cards, "group": group, "group_names": group_names(held)}
        return View("like.html", "Items like a picture", shown)

    def groups(self, held: HeldRelease, arguments: Arguments) -> View:
        """The groups, the largest first, each with a few items."""
        pager, show = _pager(held, "groups", arguments, GROUPS, len(held.groups)), Showing(held)
        listed = [
            (name, show.links.to("group", id=name), len(rows), show.cards(rows[:_OF_GROUP].tolist()))
            for name, rows in held.groups[pager.shown]
        ]
        return View("groups.html", "Groups", {"groups": listed, "pager": pager, "column": held.group_by})

    def group(self, held: HeldRelease, arguments: Arguments) -> View:
        """The items of one group."""
        name = _need(arguments, "id")
        rows = next((rows for one, rows in held.groups if one == name), None)
        if rows is None:
            raise UnknownItemError(f"group {name!r} is not in the release {held.release_id}")
        pager = _pager(held, "group", arguments, CARDS, len(rows), id=name)
        cards = Showing(held).cards(rows[pager.shown].tolist())
        return View("group.html", name or "no value", {"name": name, "pager": pager, "cards": cards})

    def worst(self, held: HeldRelease, arguments: Arguments) -> View:
        """Items that deserve a look, of one kind."""
        kind = arguments.get("kind", KINDS[0].name)
        column = arguments.get("column", "")
        found = Worst.of(held, kind, column)
        pager = _pager(held, "worst", arguments, found.size, found.total, kind=kind, column=found.column)
        shown = {"kinds": KINDS, "found": found, "pager": pager, "columns": list(held.items.labels)}
        return View("worst.html", "The worst", {**shown, **found.shown(Showing(held), pager.shown)})

    def failures(self, held: HeldRelease, arguments: Arguments) -> View:
        """The items without an embedding, by reason, and what to do about each."""
        reason = arguments.get("reason", "")
        counts = sorted(held.record.counts.failed_by_reason.items(), key=lambda one: -one[1])
        groups = [FailureGroup(name, count, _failed(held, name, 3)) for name, count in counts] if not reason else []
        listed = _failed(held, reason, MOST_FAILURES) if reason else []
        pager = _pager(held, "failures", arguments, 100, len(listed), reason=reason)
        shown = {"groups": groups, "reason": reason, "advice": ADVICE.get(reason, "")}
        return View("failures.html", "Failures", {**shown, "listed": listed[pager.shown], "pager": pager})

    def changes(self, held: HeldRelease, arguments: Arguments) -> View:
        """The items whose neighbours are others than in another release, before and after."""
        earlier = [one for one in self._shelf.records() if one.release_id != held.release_id]
        given = arguments.get("since") or held.record.parent
        ids = [one.release_id for one in earlier]
        since = given if arguments.get("since") or given in ids else (ids[-1] if ids else None)
        if since is None or since == held.release_id:
            return View("changes.html", "Changes", {"found": None, "earlier": earlier, "since": ""})
        old = self._shelf.held(since)
        found = self._compared(old, held)
        pager = _pager(held, "changes", arguments, ROWS, len(found.rows), since=since)
        shows, part = (Showing(old), Showing(held)), pager.shown
        pairs = zip(found.before[part].tolist(), found.rows[part].tolist(), strict=True)
        rows = [showing.changed(*shows, before, now) for before, now in pairs]
        shown = {"found": found, "rows_shown": rows, "pager": pager, "old": old.record}
        return View("changes.html", "Changes", {**shown, "earlier": earlier, "since": since})

    def _compared(self, old: HeldRelease, new: HeldRelease) -> Changes:
        pair = (old.release_id, new.release_id)
        found = self._comparisons.get(pair) or changes.compare(old, new)
        self._comparisons = dict([*self._comparisons.items(), (pair, found)][-_COMPARED:])
        return found

    def prepare(self, held: HeldRelease) -> None:
        """Do what the first visitor of each view of a release would wait for; raise LookalikeError."""
        self._histories.of(self._shelf.records())
        for kind in KINDS:
            Worst.of(held, kind.name, "")
        held.items.find("")
        self.changes(held, {})

    def releases(self, _held: HeldRelease, _arguments: Arguments) -> View:
        """What became of the figures from release to release."""
        records = self._shelf.records()
        shown = {"history": self._histories.of(records), "columns": label_columns(records), "links": Links}
        return View("releases.html", "Releases", {**shown, "last_refused": self._shelf.last_refused})


def group_names(held: HeldRelease) -> list[str]:
    """Return the groups that a form offers to search in; none where there are too many."""
    names = [name for name, _ in held.groups if name]
    return sorted(names) if len(names) <= _CHOICES else []


def _without_embedding(held: HeldRelease, item_id: str) -> View:
    failed = held.failure(item_id)
    if failed is None:
        raise UnknownItemError(f"item {item_id!r} is not in release {held.release_id}")
    return View("failed.html", item_id, {"failed": failed})


def _failed(held: HeldRelease, reason: str, most: int) -> list[FailedItem]:
    return held.failures(ds.field("reason") == reason, most)


def _need(arguments: Arguments, name: str) -> str:
    if name not in arguments:
        raise QueryError(f"the address lacks {name}=…")
    return arguments[name]


def _pager(held: HeldRelease, view: str, arguments: Arguments, size: int, total: int, **own: str | int) -> Pager:
    text = arguments.get("page", "1")
    page = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 1
    return Pager(Links(held.release_id), view, own, page, size, total)
