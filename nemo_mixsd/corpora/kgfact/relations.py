"""The directed relations of a world graph, numbered by source domain, target domain and rank."""

from __future__ import annotations

from dataclasses import dataclass

from nemo_mixsd.corpora.kgfact.names import DOMAINS
from nemo_mixsd.corpora.kgfact.templates import RELATIONS_PER_PAIR, TEMPLATES, Template


@dataclass(frozen=True, slots=True)
class Relation:
    """One directed relation between two domains (which may be the same).

    Attributes:
        source: Index of the source entity's domain in ``DOMAINS``.
        target: Index of the answer's domain.
        rank: Which of the relations of this ordered pair, from 0.
        template: How it is worded.
    """

    source: int
    target: int
    rank: int
    template: Template

    @property
    def slot(self) -> int:
        """Number of this relation among those of its source domain."""
        return self.target * RELATIONS_PER_PAIR + self.rank


def relations_from(source: int, domains: int) -> tuple[Relation, ...]:
    """The relations of one source domain, by slot, in a graph of the first ``domains`` domains."""
    by_target = TEMPLATES[DOMAINS[source].name]
    return tuple(
        Relation(source, target, rank, by_target[DOMAINS[target].name][rank])
        for target in range(domains)
        for rank in range(RELATIONS_PER_PAIR)
    )


def least_neighbours(domains: int) -> int:
    """How many other facts are sure to be about one of the two entities of any fact.

    Each of the two entities has one fact a relation in each direction. At most the relations between their two domains
    are counted twice, and the fact itself is left out.
    """
    return 4 * RELATIONS_PER_PAIR * domains - 2 * RELATIONS_PER_PAIR - 1
