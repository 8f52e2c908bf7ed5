"""The addresses of the site: each view of a release is one, with the release's id in it, so that it can be sent."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode


@dataclass(frozen=True)
class Links:
    """The addresses of one release's views."""

    release_id: str

    def to(self, view: str = "", **arguments: str | int) -> str:
        """Return the address of a view; arguments that are empty are left out, but for ids."""
        given = {name: value for name, value in arguments.items() if value != "" or name in ("id", "other")}
        query = f"?{urlencode(given)}" if given else ""
        return f"/r/{quote(self.release_id, safe='')}/{view}{query}"

    def item(self, item_id: str) -> str:
        """Return the address of an item."""
        return self.to("item", id=item_id)

    def picture(self, item_id: str, side: str = "small") -> str:
        """Return the address of an item's picture."""
        return self.to(side, id=item_id)

    def why(self, item_id: str, other_id: str) -> str:
        """Return the address of why the one has the other in its list."""
        return self.to("why", id=item_id, other=other_id)


@dataclass(frozen=True)
class Pager:
    """One page of a view that has several: which rows it shows, and where the others are."""

    links: Links
    view: str
    arguments: dict[str, str | int]
    page: int
    size: int
    total: int

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(1, -(-self.total // self.size))

    @property
    def at(self) -> int:
        """This page, from 1 on; a number beyond the last is the last."""
        return min(max(1, self.page), self.pages)

    @property
    def shown(self) -> slice:
        """The rows of this page."""
        return slice((self.at - 1) * self.size, self.at * self.size)

    @property
    def before(self) -> str | None:
        """Where the page before is."""
        return self._to(self.at - 1) if self.at > 1 else None

    @property
    def after(self) -> str | None:
        """Where the next page is."""
        return self._to(self.at + 1) if self.at < self.pages else None

    def _to(self, page: int) -> str:
        return self.links.to(self.view, **self.arguments, page=page)
