"""The recipe's ``corpus`` section for KGFact."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from nemo_mixsd.corpora.base import CorpusConfig
from nemo_mixsd.corpora.kgfact.graph import GraphShape
from nemo_mixsd.corpora.kgfact.names import DOMAINS, NAME_CAPACITY
from nemo_mixsd.corpora.kgfact.relations import least_neighbours
from nemo_mixsd.corpora.kgfact.templates import RELATIONS_PER_PAIR

PRESETS: dict[str, GraphShape] = {
    "small": GraphShape(domains=5, entities_per_domain=10, facts=100),
    "large": GraphShape(domains=7, entities_per_domain=25, facts=525),
}
"""The graphs of the paper (section 5, Datasets)."""

_SHAPE_FIELDS = ("domains", "entities_per_domain", "facts")


class KGFactConfig(CorpusConfig):
    """A generated world graph of invented entities."""

    name: Literal["kgfact"] = "kgfact"
    """Always ``kgfact``."""
    size: Literal["small", "large", "custom"] = "small"
    """``small``: 5 domains of 10 entities, 100 facts; ``large``: 7 of 25, 525 facts; ``custom``: the next three."""
    domains: int | None = Field(default=None, ge=2, le=len(DOMAINS))
    """Number of domains, for ``size: custom`` only."""
    entities_per_domain: int | None = Field(default=None, ge=2, le=NAME_CAPACITY)
    """Entities in each domain, for ``size: custom`` only."""
    facts: int | None = Field(default=None, ge=1)
    """Number of facts to train on, for ``size: custom`` only."""
    seed: int = 0
    """Names, edges, the choice of facts and of distractors are functions of this number."""
    distractors: int = Field(default=50, ge=0)
    """Facts that stand beside the needed one in each example of the split ``retrieval``."""

    @model_validator(mode="after")
    def _check_shape(self) -> KGFactConfig:
        for field in _SHAPE_FIELDS:
            value = getattr(self, field)
            if self.size == "custom" and value is None:
                raise ValueError(f"corpus.{field} is missing: set it, or choose corpus.size small or large")
            if self.size != "custom" and value is not None:
                raise ValueError(
                    f"corpus.{field} is {value}, but corpus.size {self.size} fixes it: remove corpus.{field}, or set "
                    "corpus.size to custom"
                )
        most = self.shape.entities * RELATIONS_PER_PAIR * self.shape.domains
        if self.shape.facts > most:
            raise ValueError(
                f"corpus.facts is {self.shape.facts}, but {self.shape.domains} domains of "
                f"{self.shape.entities_per_domain} entities have only {most} facts: lower corpus.facts, or raise "
                "corpus.entities_per_domain or corpus.domains"
            )
        return self

    @model_validator(mode="after")
    def _check_distractors(self) -> KGFactConfig:
        most = least_neighbours(self.shape.domains)
        if self.distractors > most:
            raise ValueError(
                f"corpus.distractors is {self.distractors}, but with {self.shape.domains} domains only {most} other "
                "facts are sure to be about one of two entities: lower corpus.distractors, or raise corpus.domains"
            )
        return self

    @property
    def shape(self) -> GraphShape:
        """The size of the graph."""
        if self.size != "custom":
            return PRESETS[self.size]
        if self.domains is None or self.entities_per_domain is None or self.facts is None:
            raise ValueError("corpus.size custom needs corpus.domains, corpus.entities_per_domain and corpus.facts")
        return GraphShape(self.domains, self.entities_per_domain, self.facts)
