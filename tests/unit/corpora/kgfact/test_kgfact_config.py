from __future__ import annotations

import pytest
from pydantic import ValidationError

from nemo_mixsd.corpora.kgfact import KGFactConfig
from nemo_mixsd.corpora.kgfact.graph import GraphShape


@pytest.mark.parametrize(("size", "shape"), [("small", GraphShape(5, 10, 100)), ("large", GraphShape(7, 25, 525))])
def test_presets_have_the_sizes_of_the_paper(size: str, shape: GraphShape) -> None:
    assert KGFactConfig.model_validate({"name": "kgfact", "size": size}).shape == shape


def test_custom_takes_its_fields() -> None:
    config = KGFactConfig(size="custom", domains=6, entities_per_domain=8, facts=40, distractors=10)
    assert config.shape == GraphShape(6, 8, 40)


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({"size": "small", "facts": 7}, ["corpus.facts is 7", "remove corpus.facts"]),
        ({"size": "custom", "domains": 5, "facts": 7}, ["corpus.entities_per_domain is missing"]),
        (
            {"size": "custom", "domains": 5, "entities_per_domain": 2, "facts": 151},
            ["corpus.facts is 151", "only 150 facts", "lower corpus.facts"],
        ),
        ({"distractors": 54}, ["corpus.distractors is 54", "only 53", "lower corpus.distractors"]),
        ({"size": "custom", "domains": 8, "entities_per_domain": 2, "facts": 1}, ["domains", "equal to 7"]),
        ({"size": "custom", "domains": 5, "entities_per_domain": 1, "facts": 1}, ["entities_per_domain", "equal to 2"]),
        ({"distractors": -1}, ["distractors", "equal to 0"]),
        ({"colour": 1}, ["colour", "not permitted"]),
    ],
)
def test_errors_name_field_value_and_remedy(fields: dict[str, object], texts: list[str]) -> None:
    with pytest.raises(ValidationError) as caught:
        KGFactConfig.model_validate(fields)
    assert all(text in str(caught.value) for text in texts)


def test_every_distractor_count_up_to_the_limit_is_allowed() -> None:
    assert KGFactConfig(distractors=53).distractors == 53
    assert KGFactConfig(distractors=0).distractors == 0
