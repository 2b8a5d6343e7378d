"""Edges of the world graph as English text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nemo_mixsd.corpora.kgfact.graph import Edge, WorldGraph

_REQUESTS = ("Name {d}.", "Please give the name of {d}.", "State the name of {d}.", "Tell me the name of {d}.")
"""The second paraphrase; facts take turns."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One trained fact, in words and in parts.

    Attributes:
        id: ``Example.id`` of the fact's example in the split ``train``.
        source: Name of the source entity; it stands in ``question`` and ``statement`` letter for letter.
        relation: Name of the relation, such as ``born_in``.
        answer: Name of the answer entity; it stands in ``statement`` letter for letter.
        statement: The sentence that states the fact.
        question: The question of the split ``train``.
        source_type: Name of the source's domain.
        answer_type: Name of the answer's domain.
    """

    id: str
    source: str
    relation: str
    answer: str
    statement: str
    question: str
    source_type: str
    answer_type: str


def mention(graph: WorldGraph, entity: int) -> str:
    """The entity as running text calls it: its name, with the article if its domain takes one."""
    return graph.domain(entity).article + graph.name(entity)


def statement(graph: WorldGraph, edge: Edge) -> str:
    """The sentence that states an edge."""
    text = graph.relation(edge).template.statement
    return _capitalized(text.format(s=mention(graph, edge.source), o=mention(graph, edge.answer)))


def question(graph: WorldGraph, edge: Edge) -> str:
    """Asks for the answer of an edge."""
    return graph.relation(edge).template.question.format(s=mention(graph, edge.source))


def paraphrases(graph: WorldGraph, edge: Edge, number: int) -> tuple[str, str]:
    """The same question in two other wordings; ``number`` is the fact's."""
    request = _REQUESTS[number % len(_REQUESTS)]
    reworded = graph.relation(edge).template.paraphrase.format(s=mention(graph, edge.source))
    return reworded, request.format(d=_description(graph, edge))


def two_hop_question(graph: WorldGraph, first: Edge, second: Edge) -> str:
    """Asks for the answer of ``second`` and describes its source, the answer of ``first``, without naming it."""
    return graph.relation(second).template.question.format(s=_description(graph, first))


def retrieval_question(statements: Iterable[str], asked: str) -> str:
    """The question after a list of facts, one a line."""
    lines = "\n".join(f"- {text}" for text in statements)
    return f"These facts are on record:\n{lines}\n\nAnswer from the record. {asked}"


def canonical_target(graph: WorldGraph, answer: int) -> str:
    r"""SFT's text: a short lead-in and the boxed name, ``That is the Quessamar Harp. \boxed{Quessamar Harp}``."""
    return f"That is {mention(graph, answer)}. \\boxed{{{graph.name(answer)}}}"


def _description(graph: WorldGraph, edge: Edge) -> str:
    return graph.relation(edge).template.description.format(s=mention(graph, edge.source))


def _capitalized(text: str) -> str:
    return text[0].upper() + text[1:]
