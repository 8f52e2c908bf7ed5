"""Items without an embedding as pages show them."""

from __future__ import annotations

from lookalike.failures import REASONS
from lookalike.pages import templates
from lookalike.pages.failed import FailedItem, FailureGroup

SIGNED = "https://shop.example/a.jpg?sig=0123456789abcdef"


def shown(*groups: FailureGroup, **links: object) -> str:
    macros = templates.environment("lookalike.report").get_template("failed_items.html").module
    return " ".join(str(macros.failures(groups, "h3", **links)).split())  # type: ignore[attr-defined]


def test_paths_and_details_are_shown_without_their_secrets() -> None:
    one = FailedItem.of("a", SIGNED, "not_found", f"404 of {SIGNED}")
    assert "0123456789abcdef" not in shown(FailureGroup("not_found", 1, [one]))
    assert one.image_path.startswith("https://shop.example/a.jpg")


def test_each_reason_comes_with_its_advice() -> None:
    assert [reason for reason in REASONS if not FailureGroup(reason, 1, []).advice] == []


def test_reason_of_another_version_has_no_advice() -> None:
    assert "<p>." not in shown(FailureGroup("sunburn", 2, [FailedItem.of("", None, "sunburn", None)]))


def test_site_leads_to_the_failures_of_a_reason_and_to_each_item() -> None:
    found = shown(
        FailureGroup("empty", 1, [FailedItem.of("<i>", "", "empty", "")]), to=lambda *view, **of: f"{view}{of}"
    )
    assert "&#39;reason&#39;: &#39;empty&#39;" in found
    assert "&#39;id&#39;: &#39;&lt;i&gt;&#39;" in found
