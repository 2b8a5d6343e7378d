"""Corpora: where the facts come from. One file or folder a corpus, all behind ``Corpus``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from nemo_mixsd.corpora.base import Corpus, CorpusConfig
from nemo_mixsd.corpora.jsonl import JsonlConfig, JsonlCorpus
from nemo_mixsd.errors import ConfigError

CORPORA: dict[str, type[Corpus[Any]]] = {
    "jsonl": JsonlCorpus,
}
"""Every corpus by the name that ``corpus.name`` takes."""

CorpusSection = Annotated[JsonlConfig, Field(discriminator=None)]
"""The recipe's ``corpus`` section: which model reads it is decided by ``name``."""


def make_corpus(config: CorpusConfig) -> Corpus[Any]:
    """The corpus of a validated ``corpus`` section.

    Raises:
        ConfigError: No corpus has that name.
    """
    try:
        return CORPORA[config.name](config)
    except KeyError:
        raise ConfigError(
            f"corpus.name: no corpus {config.name!r}; choose one of {', '.join(sorted(CORPORA))}"
        ) from None


__all__ = ["CORPORA", "Corpus", "CorpusConfig", "CorpusSection", "make_corpus"]
