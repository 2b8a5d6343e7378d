"""Random texts to put before a question, written by the base model: an edit is not to hang on the question's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nemo_mixsd.mixing.engines.base import Sampling, SegmentRequest
from nemo_mixsd.prompts import PromptRenderer
from nemo_mixsd.randomness import KeyedRandom

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OPENINGS: Final = (
    "The",
    "Last week",
    "My neighbour",
    "When it rains",
    "In most cities",
    "There was once",
    "People say that",
    "At the end of",
    "One morning",
    "Some of the",
    "It was in",
    "We all know",
)
"""How a random text begins; the base model goes on from there at temperature 1."""

TOP_K: Final = 50
"""Sampling keeps to the likelier tokens, so that the texts are plausible ones."""


def random_prefixes(
    model: PreTrainedModel, renderer: PromptRenderer, count: int, tokens: int, seed: int
) -> tuple[str, ...]:
    """``count`` different short texts; a function of model, seed and place alone.

    Args:
        model: The base model, unedited.
        renderer: Its tokenizer.
        count: How many.
        tokens: How many tokens the model adds to an opening.
        seed: Chooses openings and samples.
    """
    if not count:
        return ()
    from nemo_mixsd.mixing.engines.hf import HFEngine

    openings = list(OPENINGS)
    KeyedRandom("memit", "openings", seed).shuffle(openings)
    engine = HFEngine(model, frozenset(), Sampling(1.0, TOP_K, seed), slots=count)
    begun = []
    for i in range(count):
        opening = openings[i % len(openings)]
        ids = tuple(renderer.tokenizer(opening)["input_ids"]) or (0,)
        begun.append(opening)
        key = f"memit-prefix-{i}"
        engine.submit(SegmentRequest(key, key, ids, tokens, key))
    texts: dict[str, str] = {}
    while results := engine.poll():
        texts |= {result.key: renderer.decode(result.token_ids) for result in results}
    engine.close()
    return tuple(_sentence(f"{begun[i]}{_gap(texts[f'memit-prefix-{i}'])}") for i in range(count))


def _gap(text: str) -> str:
    return text if text[:1].isspace() else f" {text}"


def _sentence(text: str) -> str:
    """On one line, ended as a sentence is, so that the question after it stands by itself."""
    line = " ".join(text.split())
    return line if line.endswith((".", "!", "?")) else f"{line}."
