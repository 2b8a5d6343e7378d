from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_mixsd.corpora.kgfact.graph import GraphShape, WorldGraph
from nemo_mixsd.corpora.kgfact.templates import RELATIONS_PER_PAIR

shapes = st.builds(
    lambda domains, size, share: GraphShape(
        domains, size, max(1, round(share * domains * size * RELATIONS_PER_PAIR * domains))
    ),
    st.integers(2, 7),
    st.integers(2, 12),
    st.floats(0, 1),
)


@settings(max_examples=40, deadline=None)
@given(shape=shapes, seed=st.integers())
def test_the_world_is_what_it_promises(shape: GraphShape, seed: int) -> None:
    graph = WorldGraph(shape, seed)
    size, slots = shape.entities_per_domain, RELATIONS_PER_PAIR * shape.domains
    world = [graph.edge(source, slot) for source in range(shape.entities) for slot in range(slots)]
    for edge in world:
        assert graph.relation(edge).source == edge.source // size
        assert graph.relation(edge).target == edge.answer // size
        assert edge.source != edge.answer
    # One to one: a relation never gives two sources the same answer.
    assert len({(edge.source // size, edge.slot, edge.answer) for edge in world}) == len(world)
    for entity in range(0, shape.entities, 5):
        assert Counter(graph.edges_about(entity)) == Counter(
            edge for edge in world for end in (edge.source, edge.answer) if end == entity
        )


@settings(max_examples=40, deadline=None)
@given(shape=shapes, seed=st.integers())
def test_trained_facts_are_distinct_and_their_sources_take_turns(shape: GraphShape, seed: int) -> None:
    graph = WorldGraph(shape, seed)
    trained = [graph.trained(number) for number in range(shape.facts)]
    assert len(set(trained)) == shape.facts
    assert len({(edge.source, edge.slot) for edge in trained}) == shape.facts
    counts = Counter(edge.source for edge in trained)
    assert {counts[entity] for entity in range(shape.entities)} <= {
        shape.facts // shape.entities,
        -(-shape.facts // shape.entities),
    }
    for entity in range(shape.entities):
        assert [trained[number] for number in graph.trained_from(entity)] == [
            edge for edge in trained if edge.source == entity
        ]


def test_seeds_give_other_worlds() -> None:
    shape = GraphShape(5, 10, 100)
    first, second = (WorldGraph(shape, seed) for seed in (0, 1))
    assert [first.trained(n) for n in range(100)] != [second.trained(n) for n in range(100)]
    assert [first.edge(0, slot) for slot in range(15)] != [second.edge(0, slot) for slot in range(15)]
