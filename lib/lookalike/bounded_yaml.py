"""Loaders of YAML that refuse what grows without bound: a few lines of aliases stand for gigabytes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import yaml

# Characters of a document, with all that its aliases repeat: a file of every key with its description has 16 kB.
MOST_CHARACTERS = 1_000_000

# What the loaders raise for a text that is no YAML. ValueError: a date that does not exist. RecursionError: brackets
# 3,000 deep. The others: values that are not of the type of their tag, such as `!!int ""`.
NOT_YAML = (yaml.YAMLError, ValueError, RecursionError, LookupError, AttributeError, TypeError, ArithmeticError)


def problem(error: Exception) -> str:
    """Return on one line what is wrong with a text for which a loader raised one of NOT_YAML."""
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 ({error.reason}); save it as UTF-8"
    if isinstance(error, yaml.YAMLError | ValueError):
        said = " ".join(str(error).split()).replace(' in "<unicode string>",', " at")
        return f"{said}; indent it by blanks, not by tabs" if "'\\t' that cannot start" in said else said
    return "a value does not fit its tag"


class _Bounded(yaml.parser.Parser, yaml.composer.Composer):
    """A composer that measures each node with all that its aliases repeat."""

    _sizes: dict[yaml.Node, int]

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the node; raises YAMLError when it is too large, or an alias of what it is a part of."""
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if node is None:
            return None
        if not is_alias:
            self._sizes[node] = self._size(node)
        elif node not in self._sizes:
            raise yaml.YAMLError(f"an alias of what it is a part of, at line {node.start_mark.line + 1}")
        if self._sizes[node] > MOST_CHARACTERS:
            raise yaml.YAMLError(f"more than {MOST_CHARACTERS:,} characters, with what its aliases repeat")
        return node

    def _size(self, node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1 + len(node.value)
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        return 1 + sum(self._sizes[part] for part in parts)


class Loader(_Bounded, yaml.SafeLoader):
    """A loader that also refuses a repeated key; the safe one takes the last: a second `similar:` hides the first."""

    def __init__(self, stream: str) -> None:
        yaml.SafeLoader.__init__(self, stream)
        self._sizes = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping; raises YAMLError for a repeated key."""
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key in [key for key, count in keys.items() if count > 1]:
            raise yaml.YAMLError(f"key '{key}' occurs twice, again at or before line {node.end_mark.line + 1}")
        return super().construct_mapping(node, deep)


class TextLoader(_Bounded, yaml.BaseLoader):
    """A loader that takes every value for a text."""

    def __init__(self, stream: str) -> None:
        yaml.BaseLoader.__init__(self, stream)
        self._sizes = {}
