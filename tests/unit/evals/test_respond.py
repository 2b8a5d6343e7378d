"""Plain generation: one response a prompt, never more in flight than asked."""

import pytest

from nemo_mixsd.errors import EngineError
from nemo_mixsd.evals.respond import Prompt, respond
from tests.samples import ScriptedEngine
from tests.tiny import EOS


def counts_up(ids):
    return EOS if len(ids) >= 6 else ids[-1] + 1


@pytest.mark.parametrize("in_flight", [1, 3, 100])
def test_every_prompt_has_its_response(in_flight):
    engine = ScriptedEngine(counts_up, per_poll=2)
    prompts = [Prompt(f"p{i}", (10 * i + 10,) * (1 + i % 4), 1 + i % 2) for i in range(9)]
    got = dict(respond(engine, iter(prompts), 4, in_flight))
    assert sorted(got) == [p.id for p in prompts]
    for p in prompts:
        expected = []
        while len(expected) < 4 and EOS not in expected:
            expected.append(counts_up([*p.token_ids, *expected]))
        assert list(got[p.id].token_ids) == expected
        assert got[p.id].finish_reason == ("stop" if expected[-1] == EOS else "length")
    assert engine.most_in_flight == min(in_flight, 9)
    assert {r.key: r.attempt for r in engine.submitted} == {p.id: p.sample for p in prompts}
    assert all(r.max_tokens == 4 and r.position == 0 for r in engine.submitted)


def test_prompts_are_read_as_responses_finish():
    read = []

    def source():
        for i in range(20):
            read.append(i)
            yield Prompt(f"p{i}", (5,))

    for n, _ in enumerate(respond(ScriptedEngine(counts_up, per_poll=1), source(), 4, 3)):
        assert len(read) - n <= 3


def test_no_prompts():
    assert list(respond(ScriptedEngine(counts_up), [], 4, 3)) == []


def test_an_engine_that_loses_responses():
    engine = ScriptedEngine(counts_up)
    engine.poll = lambda: []
    with pytest.raises(EngineError, match="the engine lost 2 responses"):
        list(respond(engine, [Prompt("a", (5,)), Prompt("b", (5,))], 4, 3))
