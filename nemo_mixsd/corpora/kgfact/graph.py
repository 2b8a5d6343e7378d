"""The world graph: entities, relations and answers as functions of indices. Nothing is stored, so size costs nothing.

Entities are numbered ``0 .. domains * entities_per_domain - 1``, domain by domain. In the whole world every entity has
exactly one answer in every relation of its domain, and every relation is one to one: that makes the answer of a query
unique by construction, and every entity the answer of as many facts as any other. A corpus trains on a part of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from nemo_mixsd.corpora.kgfact.names import DOMAINS, Domain, NameBook
from nemo_mixsd.corpora.kgfact.permutation import KeyedPermutation
from nemo_mixsd.corpora.kgfact.relations import Relation, relations_from
from nemo_mixsd.randomness import KeyedRandom

_CACHED_NAMES = 1024


@dataclass(frozen=True, slots=True)
class GraphShape:
    """Size of a graph.

    Attributes:
        domains: How many domains, the first of ``DOMAINS``.
        entities_per_domain: Entities in each of them, at least 2.
        facts: How many facts are trained on.
    """

    domains: int
    entities_per_domain: int
    facts: int

    @property
    def entities(self) -> int:
        """Entities over all domains."""
        return self.domains * self.entities_per_domain


@dataclass(frozen=True, slots=True)
class Edge:
    """One fact of the world as numbers.

    Attributes:
        source: Number of the source entity.
        slot: Number of the relation among those of the source's domain.
        answer: Number of the answer entity.
    """

    source: int
    slot: int
    answer: int


class _Matching:
    """A one-to-one relation between the entities of two domains; within a domain nobody is their own answer."""

    def __init__(self, size: int, relation: Relation, seed: int) -> None:
        key: tuple[int | str, ...] = ("kgfact", seed, "edges", relation.template.key)
        self._size = size
        self._order = KeyedPermutation(size, *key)
        loop = relation.source == relation.target
        self._shift = 1 + KeyedRandom(*key, "shift").below(size - 1) if loop else None

    def forward(self, index: int) -> int:
        if self._shift is None:
            return self._order(index)
        return self._order.inverse((self._order(index) + self._shift) % self._size)

    def backward(self, index: int) -> int:
        if self._shift is None:
            return self._order.inverse(index)
        return self._order.inverse((self._order(index) - self._shift) % self._size)


class WorldGraph:
    """A generated world of one shape and seed.

    Args:
        shape: How large it is.
        seed: ``corpus.seed``. Names, edges and the choice of trained facts are functions of it.
    """

    def __init__(self, shape: GraphShape, seed: int) -> None:
        self.shape = shape
        self.relations = tuple(relations_from(source, shape.domains) for source in range(shape.domains))
        self._names = tuple(NameBook(domain, seed) for domain in DOMAINS[: shape.domains])
        self._matchings = tuple(
            tuple(_Matching(shape.entities_per_domain, relation, seed) for relation in row) for row in self.relations
        )
        self._order = KeyedPermutation(shape.entities, "kgfact", seed, "sources")
        self._slots = KeyedPermutation(len(self.relations[0]), "kgfact", seed, "slots")
        # One example says the same two names several times; the bound keeps the memory flat.
        self._cached_name = lru_cache(maxsize=_CACHED_NAMES)(self._spell)

    def domain(self, entity: int) -> Domain:
        """The domain of an entity."""
        return DOMAINS[entity // self.shape.entities_per_domain]

    def name(self, entity: int) -> str:
        """The name of an entity, without an article."""
        return self._cached_name(entity)

    def _spell(self, entity: int) -> str:
        domain, index = divmod(entity, self.shape.entities_per_domain)
        return self._names[domain].name(index)

    def relation(self, edge: Edge) -> Relation:
        """The relation of an edge."""
        return self.relations[edge.source // self.shape.entities_per_domain][edge.slot]

    def edge(self, source: int, slot: int) -> Edge:
        """The one answer of a query."""
        size = self.shape.entities_per_domain
        domain, index = divmod(source, size)
        target = self.relations[domain][slot].target
        return Edge(source, slot, target * size + self._matchings[domain][slot].forward(index))

    def edges_about(self, entity: int) -> Iterator[Edge]:
        """All facts of the world that have ``entity`` as source, then all that have it as answer."""
        size = self.shape.entities_per_domain
        for relation in self.relations[entity // size]:
            yield self.edge(entity, relation.slot)
        domain, index = divmod(entity, size)
        for row, matchings in zip(self.relations, self._matchings, strict=True):
            for relation, matching in zip(row, matchings, strict=True):
                if relation.target == domain:
                    yield Edge(relation.source * size + matching.backward(index), relation.slot, entity)

    def trained(self, number: int) -> Edge:
        """The fact with this number among the trained ones, ``0 <= number < shape.facts``.

        Sources take turns, so that each entity is the source of equally many facts, give or take one.
        """
        turn, position = divmod(number, self.shape.entities)
        source = self._order(position)
        return self.edge(source, self._slots(turn, tweak=source))

    def trained_from(self, source: int) -> range:
        """Numbers of the trained facts that have this source."""
        return range(self._order.inverse(source), self.shape.facts, self.shape.entities)
