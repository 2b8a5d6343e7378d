"""KGFact: facts about invented entities, to learn by heart (paper, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

from nemo_mixsd.corpora.base import Corpus, CorpusConfig
from nemo_mixsd.corpora.kgfact import wording
from nemo_mixsd.corpora.kgfact.config import KGFactConfig
from nemo_mixsd.corpora.kgfact.graph import Edge, WorldGraph
from nemo_mixsd.corpora.kgfact.wording import Fact
from nemo_mixsd.randomness import KeyedRandom
from nemo_mixsd.types import Example, PromptStyle, VerifierName


class KGFactCorpus(Corpus[KGFactConfig]):
    """Facts of a generated world graph, in four splits.

    ``train`` asks each fact directly, ``paraphrase`` asks each in two other wordings, ``retrieval`` puts the true
    statement among others before the question, ``two_hop`` asks across two trained facts. Every split is a function of
    the configuration and is streamed in constant memory.
    """

    config_type: ClassVar[type[CorpusConfig]] = KGFactConfig
    prompt_style: ClassVar[PromptStyle] = "fact"
    verifier: ClassVar[VerifierName] = "contains"

    def __init__(self, config: KGFactConfig) -> None:
        super().__init__(config)
        self._graph = WorldGraph(config.shape, config.seed)
        self._splits: dict[str, Callable[[], Iterator[Example]]] = {
            "train": self._train,
            "paraphrase": self._paraphrase,
            "retrieval": self._retrieval,
            "two_hop": self._two_hop,
        }

    def split_names(self) -> tuple[str, ...]:
        """``train``, ``paraphrase``, ``retrieval`` and ``two_hop``."""
        return tuple(self._splits)

    def iter_split(self, split: str) -> Iterator[Example]:
        """Stream one split; see the class.

        Raises:
            CorpusError: No such split.
        """
        if split not in self._splits:
            raise self._unknown_split(split)
        return self._splits[split]()

    def entities(self) -> tuple[str, ...]:
        """The names of all entities, domain by domain, without articles."""
        return tuple(self._graph.name(entity) for entity in range(self._graph.shape.entities))

    def facts(self) -> Iterator[Fact]:
        """Stream the trained facts in parts, in the order of the split ``train``."""
        for number, edge in self._trained():
            yield Fact(
                id=self._id(number),
                source=self._graph.name(edge.source),
                relation=self._graph.relation(edge).template.key,
                answer=self._graph.name(edge.answer),
                statement=wording.statement(self._graph, edge),
                question=wording.question(self._graph, edge),
                source_type=self._graph.domain(edge.source).name,
                answer_type=self._graph.domain(edge.answer).name,
            )

    def _train(self) -> Iterator[Example]:
        for number, edge in self._trained():
            yield self._example(self._id(number), wording.question(self._graph, edge), edge, "train")

    def _paraphrase(self) -> Iterator[Example]:
        for number, edge in self._trained():
            for rank, text in enumerate(wording.paraphrases(self._graph, edge, number), start=1):
                yield self._example(f"{self._id(number)}/p{rank}", text, edge, "paraphrase")

    def _retrieval(self) -> Iterator[Example]:
        for number, edge in self._trained():
            random = KeyedRandom("kgfact", self.config.seed, "retrieval", number)
            # A dict keeps the order and drops the facts that are about both entities and so come up twice.
            about = dict.fromkeys([*self._graph.edges_about(edge.source), *self._graph.edges_about(edge.answer)])
            del about[edge]
            shown = [edge, *random.sample(list(about), self.config.distractors)]
            random.shuffle(shown)
            text = wording.retrieval_question(
                (wording.statement(self._graph, one) for one in shown), wording.question(self._graph, edge)
            )
            yield self._example(f"{self._id(number)}/r", text, edge, "retrieval")

    def _two_hop(self) -> Iterator[Example]:
        for number, first in self._trained():
            second = self._continuation(number, first)
            if second is None:
                continue
            text = wording.two_hop_question(self._graph, first, second)
            yield Example(
                id=f"kgfact-hop-{number:05d}",
                question=text,
                answer=self._graph.name(second.answer),
                target=wording.canonical_target(self._graph, second.answer),
                context=f"{wording.statement(self._graph, first)} {wording.statement(self._graph, second)}",
                subject=self._graph.name(first.source),
                split="two_hop",
                answer_type=self._graph.domain(second.answer).name,
            )

    def _continuation(self, number: int, first: Edge) -> Edge | None:
        """A trained fact about the answer of ``first`` that does not lead back to the entity the question names."""
        numbers = list(self._graph.trained_from(first.answer))
        KeyedRandom("kgfact", self.config.seed, "two_hop", number).shuffle(numbers)
        edges = (self._graph.trained(other) for other in numbers)
        return next((edge for edge in edges if edge.answer != first.source), None)

    def _trained(self) -> Iterator[tuple[int, Edge]]:
        for number in range(self._graph.shape.facts):
            yield number, self._graph.trained(number)

    def _id(self, number: int) -> str:
        return f"kgfact-{number:05d}"

    def _example(self, example_id: str, text: str, edge: Edge, split: str) -> Example:
        return Example(
            id=example_id,
            question=text,
            answer=self._graph.name(edge.answer),
            target=wording.canonical_target(self._graph, edge.answer),
            context=wording.statement(self._graph, edge),
            subject=self._graph.name(edge.source),
            split=split,
            answer_type=self._graph.domain(edge.answer).name,
        )
