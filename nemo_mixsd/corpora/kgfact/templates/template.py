"""The wordings of one relation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Template:
    """How one directed relation is spoken of. ``{s}`` stands for the source entity, ``{o}`` for the answer.

    A source entity has exactly one answer in each relation. No relation restates another or another's converse, so a
    true statement about one relation never answers a question about another.

    Attributes:
        key: Name of the relation, unique over all domains.
        statement: A sentence that states the fact.
        question: Asks for the answer; the split ``train`` uses it.
        paraphrase: Asks the same in other words.
        description: A noun phrase for the answer; it is put in the place of ``{s}`` in a question with two hops.
    """

    key: str
    statement: str
    question: str
    paraphrase: str
    description: str


TemplatesByTarget = dict[str, tuple[Template, Template, Template]]
"""Name of the target domain to the three relations that lead there."""
