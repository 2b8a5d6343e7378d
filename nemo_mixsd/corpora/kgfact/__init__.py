"""KGFact: facts of a generated world graph of invented entities."""

from __future__ import annotations

from nemo_mixsd.corpora.kgfact.config import PRESETS, KGFactConfig
from nemo_mixsd.corpora.kgfact.corpus import KGFactCorpus
from nemo_mixsd.corpora.kgfact.wording import Fact

__all__ = ["PRESETS", "Fact", "KGFactConfig", "KGFactCorpus"]
