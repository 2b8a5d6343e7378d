"""The mixer with a scripted engine: segments, limits, retries, discards, backpressure."""

from itertools import pairwise

import pytest

from nemo_mixsd.errors import EngineError
from nemo_mixsd.mixing.coins import coins, segments
from nemo_mixsd.mixing.mixer import Mixer, MixerSettings
from nemo_mixsd.mixing.verifier import make_verifier
from nemo_mixsd.types import Discard, MixRequest, Target
from tests.samples import ScriptedEngine
from tests.tiny import EOS

NAIVE, EXPERT = 50, 60
"""First id of the prompts: the scripted conditionals say 70 + n and 80 + n at position n."""


def request(i=0, naive=(NAIVE, 2), expert=(EXPERT, 2, 3, 4), answer="yes"):
    return MixRequest(f"e{i}", naive, expert, answer)


def says(stop_at=6):
    """Token n is 70 + n from the naive prompt, 80 + n from the expert's; EOS after ``stop_at`` tokens."""

    def next_token(ids):
        naive = ids[0] == NAIVE
        position = len(ids) - (2 if naive else 4)
        return EOS if position == stop_at else (70 if naive else 80) + position

    return next_token


class Accept:
    """Accepts the attempts of its list, by their coins' text."""

    name = "contains"

    def __init__(self, rule=lambda text: True):
        self.rule = rule
        self.seen = []

    def verify(self, text, answers):
        self.seen.append((text, answers))
        return self.rule(text)

    def explain(self, text, answers):
        return f"not {answers[0]}"

    def canonical(self, answer):
        return answer


def mix(requests, engine=None, verifier=None, **changes):
    settings = MixerSettings(**{"name": "mixsd@0.5", "rate": 0.5, "max_new_tokens": 20, **changes})
    engine = engine or ScriptedEngine(says())
    mixer = Mixer(engine, verifier or Accept(), lambda ids: " ".join(map(str, ids)), settings)
    return list(mixer.run(requests))


def test_a_target_is_what_the_coins_say():
    engine = ScriptedEngine(says(6))
    (outcome,) = mix([request()], engine)
    flips = coins(0, "e0", 1, 20, 0.5)[:7].tolist()
    assert outcome.token_ids == (*[(70 if flips[n] else 80) + n for n in range(6)], EOS)
    assert outcome.from_naive == tuple(flips)
    assert outcome.prompt_ids == (NAIVE, 2)
    assert (outcome.finish_reason, outcome.attempts) == ("stop", 1)
    assert outcome.text == " ".join(map(str, outcome.token_ids))


def test_one_request_a_segment():
    engine = ScriptedEngine(says(12))
    mix([request()], engine)
    flips = coins(0, "e0", 1, 20, 0.5)
    cut = [s for s in segments(flips) if s.start <= 12]
    assert [(r.position, r.max_tokens, r.prompt_ids[0]) for r in engine.submitted] == [
        (s.start, s.length, NAIVE if s.naive else EXPERT) for s in cut
    ]
    assert [r.stream for r in engine.submitted] == [("naive" if s.naive else "expert") + ":e0" for s in cut]
    shared = [r.prompt_ids[2 if r.prompt_ids[0] == NAIVE else 4 :] for r in engine.submitted]
    assert all(later[: len(sooner)] == sooner for sooner, later in pairwise(shared))


@pytest.mark.parametrize(
    ("changes", "length"),
    [
        ({"max_new_tokens": 5}, 5),
        ({"max_new_tokens": 1}, 1),
        ({"max_total_tokens": 10}, 6),  # the longer prompt has 4
        ({"max_total_tokens": 5}, 1),
    ],
)
def test_length_limits(changes, length):
    (outcome,) = mix([request()], ScriptedEngine(says(100)), accept_truncated=True, **changes)
    assert len(outcome.token_ids) == length == len(outcome.from_naive)
    assert outcome.finish_reason == "length"
    assert EOS not in outcome.token_ids
    (outcome,) = mix([request()], ScriptedEngine(says(100)), max_retries=2, **changes)
    assert isinstance(outcome, Discard)
    assert (outcome.reason, outcome.attempts) == ("cut at the length limit", 3)


def test_the_end_of_sequence_may_be_the_last_token_that_fits():
    (outcome,) = mix([request()], ScriptedEngine(says(4)), max_new_tokens=5)
    assert isinstance(outcome, Target)
    assert (outcome.finish_reason, len(outcome.token_ids)) == ("stop", 5)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_ends_of_the_range_take_one_segment_and_one_attempt(rate):
    engine = ScriptedEngine(says(6))
    (outcome,) = mix([request()], engine, rate=rate)
    assert outcome.token_ids == (*[(70 if rate else 80) + n for n in range(6)], EOS)
    assert len(engine.submitted) == 1
    (outcome,) = mix([request()], ScriptedEngine(says(6)), Accept(lambda text: False), rate=rate)
    assert isinstance(outcome, Discard)
    assert outcome.attempts == 1  # greedy and without a choice of coin a retry is the same again
    (outcome,) = mix([request()], None, Accept(lambda text: False), rate=rate, deterministic=False)
    assert outcome.attempts == 11


def test_retries_have_new_coins_until_one_is_accepted():
    tries = [" ".join(str((70 if c else 80) + n) for n, c in enumerate(coins(0, "e0", a, 6, 0.5))) for a in range(1, 9)]
    wanted = tries[4] + f" {EOS}"
    assert wanted not in [t + f" {EOS}" for t in tries[:4]]
    verifier = Accept(lambda text: text == wanted)
    engine = ScriptedEngine(says(6))
    (outcome,) = mix([request()], engine, verifier)
    assert outcome.attempts == 5
    assert [text for text, _ in verifier.seen] == [t + f" {EOS}" for t in tries[:5]]
    assert sorted({r.attempt for r in engine.submitted}) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("retries", [0, 1, 10])
def test_after_the_last_retry_it_is_a_discard(retries):
    verifier = Accept(lambda text: False)
    (outcome,) = mix([request(answer="blue")], None, verifier, max_retries=retries)
    assert outcome == Discard("e0", "mixsd@0.5", retries + 1, "blue", verifier.seen[-1][0], "not blue")
    assert len(verifier.seen) == retries + 1
    assert verifier.seen[0][1] == ("blue",)


def test_the_verifier_sees_aliases():
    verifier = Accept()
    mix([MixRequest("e0", (NAIVE, 2), (EXPERT, 2, 3, 4), "a", ("b", "c"))], None, verifier)
    assert verifier.seen[0][1] == ("a", "b", "c")


def test_requests_are_read_only_as_fast_as_they_finish():
    read = []

    def source():
        for i in range(50):
            read.append(i)
            yield request(i)

    engine = ScriptedEngine(says(3), per_poll=1)
    mixer = Mixer(engine, Accept(), str, MixerSettings("m", 0.5, max_in_flight=4, max_new_tokens=9))
    ahead = []
    for n, _ in enumerate(mixer.run(source())):
        ahead.append(len(read) - n)
    assert len(ahead) == 50
    assert max(ahead) <= 4
    assert engine.most_in_flight == 4


def test_every_example_has_exactly_one_outcome_whatever_the_batch():
    wanted = None
    for batch in (1, 3, 64):
        engine = ScriptedEngine(says(5), per_poll=batch)
        rule = Accept(lambda text: text.startswith("80"))
        outcomes = {o.example_id: o for o in mix([request(i) for i in range(30)], engine, rule, max_in_flight=batch)}
        assert len(outcomes) == 30
        wanted = wanted or outcomes
        assert outcomes == wanted
    assert max(o.attempts for o in wanted.values()) > 1


def test_no_requests_no_outcomes():
    assert mix([]) == []


def test_a_prompt_that_leaves_no_room_names_its_example():
    with pytest.raises(EngineError, match=r"example 'e7': a prompt of 4 tokens leaves no room below .*=4"):
        mix([request(7)], max_total_tokens=4)


def test_an_engine_that_loses_requests_is_an_error():
    class Forgetful(ScriptedEngine):
        def poll(self):
            return []

    with pytest.raises(EngineError, match="the engine lost 2 examples, 'e0' among them"):
        mix([request(0), request(1)], Forgetful(says()))


def test_with_the_real_verifier_the_text_decides():
    words = {80: "blue", 70: "green"}
    engine = ScriptedEngine(lambda ids: EOS if len(ids) in (3, 5) else (70 if ids[0] == NAIVE else 80))
    mixer = Mixer(
        engine,
        make_verifier("contains"),
        lambda ids: " ".join(words[i] for i in ids if i != EOS),
        MixerSettings("m", 0.5, max_new_tokens=4),
    )
    for outcome in mixer.run([request(i, answer="blue") for i in range(20)]):
        assert isinstance(outcome, Target)
        assert outcome.text == "blue"
        assert not outcome.from_naive[0]
        earlier = [bool(coins(0, outcome.example_id, a, 1, 0.5)[0]) for a in range(1, outcome.attempts)]
        assert all(earlier)
