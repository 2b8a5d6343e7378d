from __future__ import annotations

from collections import Counter
from string import Formatter

import pytest

from nemo_mixsd.corpora.kgfact.graph import GraphShape, WorldGraph
from nemo_mixsd.corpora.kgfact.names import DOMAINS
from nemo_mixsd.corpora.kgfact.relations import least_neighbours, relations_from
from nemo_mixsd.corpora.kgfact.templates import RELATIONS_PER_PAIR, TEMPLATES, Template

ALL = [template for by_target in TEMPLATES.values() for group in by_target.values() for template in group]


def _fields(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in Formatter().parse(text) if name is not None)


def test_every_ordered_pair_of_domains_has_its_relations() -> None:
    names = [domain.name for domain in DOMAINS]
    assert list(TEMPLATES) == names
    for by_target in TEMPLATES.values():
        assert list(by_target) == names
        assert all(len(group) == RELATIONS_PER_PAIR for group in by_target.values())


def test_slots_number_the_relations_of_a_domain() -> None:
    for source in range(len(DOMAINS)):
        assert [relation.slot for relation in relations_from(source, 6)] == list(range(18))


def test_keys_are_unique() -> None:
    assert [key for key, count in Counter(t.key for t in ALL).items() if count > 1] == []


@pytest.mark.parametrize("template", ALL, ids=lambda template: template.key)
def test_wordings_are_whole(template: Template) -> None:
    assert _fields(template.statement) == ["o", "s"]
    assert template.statement.endswith(".") and template.statement[0] in "{ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for text in (template.question, template.paraphrase):
        assert _fields(text) == ["s"]
        assert text.endswith("?") and text[0].isupper()
    assert _fields(template.description) == ["s"]
    assert template.description.startswith("the ")
    for text in (template.statement, template.question, template.paraphrase, template.description):
        assert "  " not in text and text.isascii() and "'" not in text


@pytest.mark.parametrize("source", list(TEMPLATES))
@pytest.mark.parametrize("kind", ["statement", "question", "paraphrase", "description"])
def test_no_two_relations_of_a_domain_share_a_wording(source: str, kind: str) -> None:
    texts = [getattr(t, kind) for group in TEMPLATES[source].values() for t in group]
    assert len(set(texts)) == len(texts)


def test_a_question_and_its_paraphrase_differ() -> None:
    assert len({t.question for t in ALL} & {t.paraphrase for t in ALL}) == 0


@pytest.mark.parametrize("domains", [2, 5, 7])
def test_the_promised_neighbours_are_there(domains: int) -> None:
    graph = WorldGraph(GraphShape(domains, 3, 1), seed=4)
    counts = []
    for source in range(graph.shape.entities):
        for slot in range(RELATIONS_PER_PAIR * domains):
            edge = graph.edge(source, slot)
            about = {*graph.edges_about(edge.source), *graph.edges_about(edge.answer)} - {edge}
            counts.append(len(about))
    assert min(counts) >= least_neighbours(domains)
