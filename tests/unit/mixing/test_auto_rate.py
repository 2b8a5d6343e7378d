"""Choosing λ by a probe: the rule by hand, the probe with a scripted engine, what is kept on disk."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemo_mixsd.errors import CorpusError, RunDirectoryError
from nemo_mixsd.mixing.auto_rate import (
    Probe,
    affordable,
    decide,
    probe_examples,
    probe_rates,
    rate_plan,
    read_choice,
    scored,
    write_choice,
)
from nemo_mixsd.mixing.config import AutoRateConfig
from nemo_mixsd.mixing.mixer import Mixer, MixerSettings
from nemo_mixsd.mixing.verifier import make_verifier
from nemo_mixsd.types import MixRequest
from tests.samples import ScriptedEngine
from tests.tiny import EOS

RULE = AutoRateConfig()


def probe(rate, discarded=0, attempts=20, high=0.1, examples=20):
    return Probe(rate, examples, discarded, attempts, 200, high, 1.0)


@pytest.mark.parametrize(
    ("probes", "rate", "words"),
    [
        # falls steeply to the end: the highest affordable one
        ([probe(0.1, high=0.3), probe(0.3, high=0.2), probe(0.5, high=0.1)], 0.5, "the highest affordable candidate"),
        # flat after 0.3: more λ buys less than a point
        ([probe(0.1, high=0.3), probe(0.3, high=0.105), probe(0.5, high=0.1)], 0.3, "mixing.auto.tolerance=0.01"),
        # 0.5 loses 2 of 20
        ([probe(0.1, high=0.3), probe(0.3, high=0.2), probe(0.5, 2, high=0.0)], 0.3, "loses 2 of 20"),
        # exactly the bounds are still affordable
        ([probe(0.1, high=0.3), probe(0.3, 1, 80, high=0.1)], 0.3, "4.0 attempts an example, 1 of 20 lost"),
        ([probe(0.1, high=0.3), probe(0.3, 0, 81, high=0.1)], 0.1, "takes 4.0 attempts"),
        # not even the first one
        ([probe(0.1, 5, high=0.3)], 0.1, "the lowest candidate, although λ=0.1 loses 5 of 20"),
        # nobody scored: the smallest of equals
        ([Probe(0.1, 4, 0, 4), Probe(0.3, 4, 0, 4)], 0.1, "0.0 %"),
    ],
)
def test_the_rule_by_hand(probes, rate, words):
    choice = decide(probes, RULE, "k")
    assert (choice.rate, choice.key, choice.probes) == (rate, "k", tuple(probes))
    assert words in choice.reason


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(10, 60), st.floats(0, 1)), min_size=1, max_size=5
    )
)  # fmt: skip
def test_the_rule_for_all_probes(rows):
    probes = [probe((i + 1) / 10, lost, attempts, high, 10) for i, (lost, attempts, high) in enumerate(rows)]
    good = [p for p in probes if p.discarded / 10 <= RULE.max_discarded and p.attempts / 10 <= RULE.max_attempts]
    choice = decide(probes, RULE)
    chosen = next(p for p in probes if p.rate == choice.rate)
    if not good:
        assert chosen is probes[0]
        return
    assert chosen in good
    best = min(p.high_nll for p in good)
    assert chosen.high_nll <= best + RULE.tolerance
    assert all(p.high_nll > best + RULE.tolerance for p in good if p.rate < chosen.rate), "a smaller λ was as good"
    assert choice.reason


def test_a_verifier_that_accepts_nothing_is_an_error():
    with pytest.raises(CorpusError, match=r"all 20 probe examples even at λ=0.1.*prompts.expert_template"):
        decide([probe(0.1, 20, 220)], RULE)


def test_shares_of_a_probe():
    found = Probe(0.3, 4, 1, 16)
    assert (found.pass_rate, found.expected_attempts, found.discard_share) == (3 / 16, 4.0, 0.25)
    assert scored(found, [], 8) is found
    assert scored(found, [1.0, 9.0, 8.0, 10.0], 8) == Probe(0.3, 4, 1, 16, 4, 0.5, 7.0)
    assert affordable(probe(0.1), RULE) is None


def requests(count=30):
    return [MixRequest(f"e{i}", (2, 10, 3), (2, 11, 12, 3), "20") for i in range(count)]


def test_the_probe_is_a_function_of_the_seed():
    chosen = probe_examples(requests(), AutoRateConfig(examples=7), 3)
    ids = [r.example_id for r in chosen]
    assert ids == [r.example_id for r in probe_examples(requests(), AutoRateConfig(examples=7), 3)]
    assert ids != [r.example_id for r in probe_examples(requests(), AutoRateConfig(examples=7), 4)]
    assert len(set(ids)) == 7
    assert ids == sorted(ids, key=lambda i: int(i[1:])), "not in corpus order"
    assert len(probe_examples(requests(3), AutoRateConfig(examples=7), 0)) == 3


class Maker:
    """Mixers over an engine that says the answer (20) only if all of three tokens come from the expert."""

    def __init__(self):
        self.engines = []

    def __call__(self, rate):
        def next_token(ids):
            said = ids[4:] if ids[1] == 11 else ids[3:]
            expert = ids[1] == 11
            return EOS if len(said) == 3 else (20 if expert else 21)

        engine = ScriptedEngine(next_token)
        self.engines.append(engine)
        settings = MixerSettings(f"mixsd@{rate:g}", rate, max_retries=3, max_new_tokens=8)
        return Mixer(engine, make_verifier("exact"), lambda ids: " ".join(str(i) for i in ids[:-1]), settings)


def exact(request):
    return MixRequest(request.example_id, request.naive_ids, request.expert_ids, "20 20 20")


def test_probing_counts_what_the_mixer_does_and_stops_at_the_first_that_is_too_dear(tmp_path):
    rule = AutoRateConfig(candidates=[0.9, 0.0, 0.05, 0.3], examples=12, max_attempts=2, max_discarded=0.1)
    chosen = [exact(r) for r in probe_examples(requests(), rule, 0)]
    make = Maker()
    probes = probe_rates(make, chosen, rule, tmp_path, "key")
    assert [p.rate for p in probes] == [0.0, 0.05, 0.3], "λ=0.9 was tried although 0.3 was too dear"
    assert (probes[0].attempts, probes[0].discarded, probes[0].pass_rate) == (12, 0, 1.0)
    assert probes[1].attempts >= 12
    assert affordable(probes[2], rule)
    for p in probes:
        lines = (tmp_path / f"mixsd@{p.rate:g}.jsonl").read_text().splitlines()
        assert len(lines) == p.examples - p.discarded
        assert p.tokens == sum(len(json.loads(line)["token_ids"]) for line in lines)
    again = Maker()
    assert probe_rates(again, chosen, rule, tmp_path, "key") == probes
    assert not any(engine.submitted for engine in again.engines), "something was generated twice"


def test_an_interrupted_probe_goes_on(tmp_path):
    rule = AutoRateConfig(candidates=[0.1], examples=10)
    chosen = [exact(r) for r in requests(10)]
    whole = probe_rates(Maker(), chosen, rule, tmp_path / "whole", "key")

    class Dies(ScriptedEngine):
        def poll(self):
            if len(self.submitted) > 14:
                raise KeyboardInterrupt
            return super().poll()

    maker = Maker()

    def dying(rate):
        mixer = maker(rate)
        engine = maker.engines[-1]
        mixer._engine = Dies(engine.next_token, per_poll=1)
        return mixer

    with pytest.raises(KeyboardInterrupt):
        probe_rates(dying, chosen, rule, tmp_path / "cut", "key")
    kept = (tmp_path / "cut" / ".mixsd@0.1.jsonl.journal").read_text().count('"kind"')
    assert 0 < kept < 10
    maker = Maker()
    assert probe_rates(maker, chosen, rule, tmp_path / "cut", "key") == whole
    submitted = {r.example_id for r in maker.engines[-1].submitted}
    assert len(submitted) == 10 - kept
    for name in ("mixsd@0.1.jsonl", "discarded.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_decision_is_kept(tmp_path):
    path = tmp_path / "analysis" / "rate_probe.json"
    assert read_choice(path) is None
    choice = decide([probe(0.1, high=0.3), Probe(0.3, 4, 0, 4)], RULE, "k")
    write_choice(path, choice)
    assert read_choice(path) == read_choice(path, "k") == choice
    record = json.loads(path.read_text())
    assert record["probes"][0]["pass_rate"] == 1.0
    assert record["probes"][1]["high_nll"] is None
    with pytest.raises(RunDirectoryError, match=r"λ=0\.\d was chosen under other settings.*mixing.rate="):
        read_choice(path, "other")


def test_what_the_plan_says(tmp_path):
    assert rate_plan(str(tmp_path), RULE) == "mixed at a λ out of 0.1, 0.3, 0.5, 0.7 (chosen by a probe of 32 examples)"
    write_choice(tmp_path / "analysis" / "rate_probe.json", decide([probe(0.1)], RULE, "k"))
    assert rate_plan(str(tmp_path), RULE).startswith("mixed at λ=0.1 (chosen by the probe: the highest affordable")
