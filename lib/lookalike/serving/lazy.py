"""A property that is computed when it is first read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class lazy(Generic[T]):  # noqa: N801 - used as a decorator, like `property`
    """As functools.cached_property, without the lock that it has in Python 3.11.

    All objects of a class share that lock: a child that is forked while another thread holds it would wait for ever.
    Here two threads may both compute the value; one of the two is kept.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, owner: object, _type: type | None = None) -> T:
        value: T = owner.__dict__.setdefault(self._name, self._compute(owner))
        return value
