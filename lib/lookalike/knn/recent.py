"""What a worker has opened last and keeps, up to a bound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """Values by key; those that were asked for last, which together weigh no more than `most`, or one alone."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._weight = 0
        self._held: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T], weigh: Callable[[T], int]) -> T:
        """Return the value of a key, made where it is not kept."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key][0]
        value = make()
        self._keep(key, value, weigh(value))
        return value

    def _keep(self, key: Hashable, value: T, weight: int) -> None:
        while self._held and self._weight + weight > self.most:
            self._weight -= self._held.popitem(last=False)[1][1]
        self._held[key] = value, weight
        self._weight += weight
