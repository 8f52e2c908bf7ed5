"""What a worker keeps of what it has opened."""

from __future__ import annotations

from lookalike.knn.recent import Recent


def test_what_was_asked_for_last_is_kept_up_to_a_weight() -> None:
    made: list[str] = []
    recent = Recent[str](10)

    def ask(key: str) -> str:
        def make() -> str:
            made.append(key)
            return key.upper()

        return recent.get(key, make, lambda value: len(value))

    assert [ask(key) for key in ("aaaa", "bbb", "aaaa", "ccc")] == ["AAAA", "BBB", "AAAA", "CCC"]
    assert made == ["aaaa", "bbb", "ccc"]
    assert [ask(key) for key in ("d", "aaaa", "ccc")] == ["D", "AAAA", "CCC"]  # "bbb" made room
    assert made == ["aaaa", "bbb", "ccc", "d"]
    assert ask("much longer than all") == "MUCH LONGER THAN ALL"
    ask("much longer than all")
    ask("aaaa")
    assert made == ["aaaa", "bbb", "ccc", "d", "much longer than all", "aaaa"]
