"""The records and their JSON form."""

import dataclasses
import json

import pytest

from nemo_mixsd.types import Discard, Example, Method, MixRequest, Response, Target, from_record, to_record
from tests.samples import example, target

RECORDS = [
    example(),
    example(1, aliases=("a", "b"), subject="s", split="paraphrase", answer_type="t"),
    target(),
    MixRequest("e", (1, 2), (3,), "a", ("b",)),
    Discard("e", "mixsd@0.3", 11, "a", "t", "r"),
    Response("e", "p", "r", "a", False, "length", (4, 5)),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_round_trip_through_json(record):
    text = json.dumps(to_record(record))
    assert from_record(type(record), json.loads(text)) == record
    assert list(to_record(record)) == [f.name for f in dataclasses.fields(record)]


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_records_are_frozen_and_slotted(record):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, dataclasses.fields(record)[0].name, "x")
    assert not hasattr(record, "__dict__")


def test_unknown_and_missing_fields_are_named():
    with pytest.raises(ValueError, match="unknown field 'colour' for Example"):
        from_record(Example, {**to_record(example()), "colour": 1})
    record = to_record(example())
    del record["context"]
    with pytest.raises(ValueError, match="field 'context' of Example is missing"):
        from_record(Example, record)
    assert from_record(Response, {k: v for k, v in to_record(RECORDS[-1]).items() if k != "token_ids"}).token_ids == ()


def test_a_target_has_one_coin_a_token():
    with pytest.raises(ValueError, match="target 'e3': 3 token ids but 2 coins"):
        target(3, from_naive=(True, False))
    assert isinstance(target(), Target)


def test_methods_are_the_words_of_recipes_and_reports():
    assert [m.value for m in Method] == ["base", "sft", "mixsd", "mixsd_kl", "opsd", "opsd_nll", "memit"]
