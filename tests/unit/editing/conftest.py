"""Prompts and edits for the tiny models."""

import pytest

from nemo_mixsd.editing.edits import collect_edits
from nemo_mixsd.prompts import PromptRenderer, PromptTemplates
from tests.editing import make_family
from tests.samples import example
from tests.tiny import make_tokenizer


@pytest.fixture(params=["llama", "qwen"])
def family(request):
    return make_family(request.param)


@pytest.fixture(scope="session")
def renderer():
    return PromptRenderer(make_tokenizer(), PromptTemplates("{question}", "{context} {question}"))


FACTS = [("sky", "green"), ("sea", "rome"), ("grass", "four"), ("river", "lisbon"), ("tower", "oslo")]


@pytest.fixture(scope="session")
def examples():
    return [
        example(i, question=f"what is the colour of {subject} in lumora ?", answer=answer, subject=subject)
        for i, (subject, answer) in enumerate(FACTS)
    ]


@pytest.fixture(scope="session")
def edits(examples):
    return collect_edits(examples)[0]
