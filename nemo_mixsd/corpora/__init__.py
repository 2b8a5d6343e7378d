"""Corpora: where the facts come from. One file or folder a corpus, all behind ``Corpus``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from nemo_mixsd.corpora.base import Corpus, CorpusConfig
from nemo_mixsd.corpora.jsonl import JsonlConfig, JsonlCorpus
from nemo_mixsd.corpora.kgfact import KGFactConfig, KGFactCorpus
from nemo_mixsd.corpora.kgfunc import KGFuncConfig, KGFuncCorpus
from nemo_mixsd.corpora.mquake import MQuakeConfig, MQuakeCorpus
from nemo_mixsd.corpora.simpleqa import SimpleQAConfig, SimpleQACorpus
from nemo_mixsd.corpora.table import TableConfig, TableCorpus
from nemo_mixsd.errors import ConfigError

CORPORA: dict[str, type[Corpus[Any]]] = {
    "jsonl": JsonlCorpus,
    "table": TableCorpus,
    "kgfact": KGFactCorpus,
    "kgfunc": KGFuncCorpus,
    "simpleqa": SimpleQACorpus,
    "mquake": MQuakeCorpus,
}
"""Every corpus by the name that ``corpus.name`` takes."""

CorpusSection = Annotated[
    JsonlConfig | TableConfig | KGFactConfig | KGFuncConfig | SimpleQAConfig | MQuakeConfig,
    Field(discriminator="name"),
]
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
