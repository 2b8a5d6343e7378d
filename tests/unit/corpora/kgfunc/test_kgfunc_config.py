"""The corpus section of KGFunc: what it accepts and what its errors say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from nemo_mixsd.corpora.kgfunc import KGFuncConfig
from nemo_mixsd.corpora.kgfunc.compositions import pair_counts


def test_the_defaults_are_the_papers_setting() -> None:
    config = KGFuncConfig()
    assert "".join(config.operations) == "BCDEFGH"
    assert (config.train_count, config.test_per_operation, config.unseen_per_operation) == (1600, 25, 25)
    assert (config.train_per_operation, config.shots, config.seed) == (None, 10, 0)


def test_1600_in_all_are_spread_evenly() -> None:
    counts = KGFuncConfig().train_counts()
    assert counts == {"B": 229, "C": 229, "D": 229, "E": 229, "F": 228, "G": 228, "H": 228}
    assert sum(counts.values()) == 1600


def test_the_other_reading_is_one_override_away() -> None:
    counts = KGFuncConfig(train_per_operation=1600).train_counts()
    assert counts == dict.fromkeys("BCDEFGH", 1600)


def test_an_unknown_operation_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match=r"unknown operation 'Z' in operations; the known ones are A, B, .*, K"):
        KGFuncConfig(operations=("B", "Z"))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"operations": []}, "operations is empty"),
        ({"operations": ["B", "C", "B"]}, "'B' stands twice"),
        ({"operations": ["a"]}, "unknown operation 'a'"),
        ({"shots": 1}, "greater than or equal to 2"),
        ({"train_count": 0}, "greater than or equal to 1"),
        ({"train_per_operation": 0}, "greater than or equal to 1"),
        ({"test_per_operation": -1}, "greater than or equal to 0"),
        ({"name": "kgfact"}, "kgfunc"),
        ({"trian_count": 3}, "Extra inputs are not permitted"),
    ],
)
def test_wrong_sections_are_refused(section: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        KGFuncConfig.model_validate(section)


def test_every_key_has_a_description() -> None:
    assert all(field.description for field in KGFuncConfig.model_fields.values())


@pytest.mark.parametrize(("labels", "count"), [("BCDEFGH", 200), ("BCDEFGH", 41), ("AH", 7), ("DH", 3), ("BC", 0)])
def test_pair_counts_add_up_and_differ_by_one_at_most(labels: str, count: int) -> None:
    counts = pair_counts(labels, count)
    assert sum(counts.values()) == count
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all(x != y for x, y in counts)


def test_a_single_operation_has_no_pairs() -> None:
    assert pair_counts("B", 200) == {}
