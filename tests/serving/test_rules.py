"""The rules of one list, as `why` reads them from the tables, against the naive loop over the rules."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lookalike.config import SimilarSettings
from lookalike.serving.rules import RuleTable
from lookalike.warehouse.stored_config import StoredSimilar
from support import constraint_items, constraint_oracle

FALLBACK = {"group_by": "kind", "group_fallback": ["dept", "brand"]}

RULES: dict[str, dict[str, Any]] = {
    "nothing but k": {"k": 3},
    "for sale, not too far": {"group_by": "kind", "eligible": "in_stock", "min_score": 0.125, "k": 5},
    "products": {"group_by": "dept", "variant_of": "product", "k": 4},
    "pictures": {"duplicate_cosine": 0.875, "k": 6},
    "all": {**FALLBACK, "eligible": "in_stock", "variant_of": "product", "duplicate_cosine": 0.875, "k": 2, "spare": 1},
}


KINDS = {
    "whole numbers": [1, 1, 2, None, None],
    "numbers": [0.5, 0.5, float("nan"), None, None],
    "days": [datetime.date(2026, 1, 1), datetime.date(2026, 1, 1), datetime.date(2026, 1, 2), None, None],
    "yes and no": [True, True, False, None, None],
    "bytes that are no text": [b"\xff", b"\xff", b"x", None, None],
    "decimals": [decimal.Decimal("1.20"), decimal.Decimal("1.20"), decimal.Decimal("1.21"), None, None],
}


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_any_type_are_groups_and_products(kind: str) -> None:
    table = pa.table({"item_id": list("edcba"), "kind": KINDS[kind][::-1], "product": KINDS[kind]})
    none = pa.table({name: pa.array([], pa.string()) for name in ("item_id", "representative_item_id")})
    whole = RuleTable.of(table, none, StoredSimilar(group_by="kind"))
    of_group = {
        item_id: ["abcde"[row] for row in whole.around(query).rows.tolist()] for query, item_id in enumerate("abcde")
    }
    assert of_group == {"a": ["a", "b"], "b": ["a", "b"], "c": ["c"], "d": ["d", "e"], "e": ["d", "e"]}
    products = RuleTable.of(table, none, StoredSimilar(variant_of="product")).around(0).products
    a, b, c, d, e = products.tolist()
    assert (d, len({a, b, c, d})) == (e, 4)  # an item without a product is one of its own


@pytest.mark.parametrize("case", RULES)
def test_rules_take_the_items_of_the_naive_loop_to_the_last_bit(case: str) -> None:
    rules = SimilarSettings.model_validate(RULES[case])
    items = constraint_items.all_cases()
    table = constraint_items.embeddings(items, eligible=rules.eligible is not None)
    duplicates = constraint_oracle.duplicates(items, rules) if rules.duplicate_cosine else []
    named = {"item_id": [one for one, _, _ in duplicates], "representative_item_id": [one for _, one, _ in duplicates]}
    same = pa.table(named, schema=pa.schema({name: pa.string() for name in named}))
    vectors, expected = {one.item_id: one.vector for one in items}, constraint_oracle.neighbours(items, rules)
    whole = RuleTable.of(table, same, StoredSimilar.model_validate(RULES[case]))
    for item_id, listed in expected.items():
        found = whole.around(whole.row(item_id) or 0)
        names = whole.ids.take(pa.array(found.rows)).to_pylist()
        scores = np.stack([vectors[one] for one in names]) @ vectors[item_id]
        taken = found.taken(scores, rules.min_score)[: rules.wanted]
        ids = [names[row] for row in taken[np.lexsort((taken, -scores[taken]))]]
        assert ids == [other for _, other, _ in listed], item_id
