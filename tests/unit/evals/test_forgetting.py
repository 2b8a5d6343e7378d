"""Forgetting by hand: prompts, samples of the base model, reference loss, their difference."""

import json
import math

import pytest
import torch

from nemo_mixsd.analysis.nll import TokenNLL
from nemo_mixsd.errors import ConfigError
from nemo_mixsd.evals.forgetting import (
    ReferenceSample,
    ReferenceSet,
    forgetting,
    load_prompts,
    reference_nll,
    sample_reference,
)
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.mixing.engines.base import Sampling
from nemo_mixsd.mixing.engines.hf import HFEngine
from nemo_mixsd.prompts import PromptRenderer, PromptTemplates
from tests.samples import ScriptedEngine
from tests.tiny import EOS, WORDS, make_model


@pytest.fixture
def renderer(tiny_tokenizer):
    return PromptRenderer(tiny_tokenizer, PromptTemplates("{question}", "{answer} {question}"))


def nll(*rows):
    return [TokenNLL(f"e{i}", tuple(row)) for i, row in enumerate(rows)]


def test_forgetting_is_the_difference_of_means_over_tokens():
    before, after = nll([1.0, 2.0, 3.0], [4.0]), nll([2.0, 2.0, 4.0], [6.0])
    assert forgetting(after, before) == pytest.approx(14 / 4 - 10 / 4)
    assert forgetting(before, after) == pytest.approx(-1.0)  # a gain is negative forgetting
    assert forgetting(before, before) == 0.0


@pytest.mark.parametrize(
    "other",
    [nll([1.0, 2.0]), nll([1.0, 2.0], [3.0, 4.0]), [TokenNLL("x", (1.0, 2.0)), TokenNLL("e1", (3.0,))], []],
)
def test_different_samples_cannot_be_compared(other):
    with pytest.raises(ValueError, match="scored on different samples"):
        forgetting(nll([1.0, 2.0], [3.0]), other)


def test_nothing_to_compare():
    with pytest.raises(ValueError, match="no reference samples"):
        forgetting([], [])


class TwoTokens(torch.nn.Module):
    """A model that says 0 with probability p, whatever stands before."""

    device = torch.device("cpu")

    def __init__(self, p):
        super().__init__()
        self.logits = torch.log(torch.tensor([p, 1 - p]))

    def forward(self, input_ids, logits_to_keep, **kwargs):
        class Output:
            logits = self.logits.expand(input_ids.shape[0], logits_to_keep, 2)

        return Output


def test_two_token_models_by_hand(tmp_path):
    """Base says 0 with probability 1/2, student with 1/4: samples 0, 1 1 and 0 1 1."""
    samples = [
        ReferenceSample("a/s1", "p", "r", (0,), (0,), "stop"),
        ReferenceSample("b/s1", "p", "r", (0, 1), (1, 1), "stop"),
        ReferenceSample("c/s1", "p", "r", (1,), (0, 1, 1), "length"),
    ]
    base = reference_nll(TwoTokens(0.5), samples, tmp_path / "base" / "0" / "reference_nll.jsonl", 2)
    student = reference_nll(TwoTokens(0.25), samples, tmp_path / "sft" / "6" / "reference_nll.jsonl", 2)
    assert [r.example_id for r in base] == ["a/s1", "b/s1", "c/s1"]
    assert [len(r.nll) for r in student] == [1, 2, 3]
    expected = (2 * -math.log(0.25) + 4 * -math.log(0.75)) / 6 - math.log(2)
    assert forgetting(student, base) == pytest.approx(expected, abs=1e-5)
    # The samples have zeros at a third, not a half: for that the divergence would have another value.
    assert expected == pytest.approx((2 * math.log(2) + 4 * math.log(2 / 3)) / 6)


def test_a_model_forgets_nothing_against_itself(tiny_model, renderer, tmp_path):
    engine = HFEngine(tiny_model, frozenset({EOS}), Sampling(1.0, None, 0), slots=4)
    reference = ReferenceSet((("g1", "what is the sky ?"), ("g2", "who was in rome ?")), 3, 6, 4)
    samples = sample_reference(engine, renderer, reference, tmp_path / "reference.jsonl")
    base = reference_nll(tiny_model, samples, tmp_path / "a.jsonl", 4)
    again = reference_nll(tiny_model, samples, tmp_path / "b.jsonl", 1)
    other = reference_nll(make_model(1), samples, tmp_path / "c.jsonl", 4)
    assert forgetting(again, base) == pytest.approx(0.0, abs=1e-5)
    assert forgetting(other, base) > 0.1  # samples of a model are likeliest under it
    assert reference_nll(None, samples, tmp_path / "a.jsonl", 4) == base  # complete: no model is asked


def test_samples_are_drawn_from_the_base_model_and_differ(tiny_model, renderer, tmp_path):
    def draw(name, seed=0, in_flight=4):
        engine = HFEngine(tiny_model, frozenset({EOS}), Sampling(1.0, None, seed), slots=in_flight)
        reference = ReferenceSet((("g1", "what is the sky ?"), ("g2", "who was in rome ?")), 3, 6, in_flight)
        return sample_reference(engine, renderer, reference, tmp_path / name)

    samples = draw("a.jsonl")
    assert [s.example_id for s in samples] == [f"{g}/s{n}" for g in ("g1", "g2") for n in (1, 2, 3)]
    assert len({s.token_ids for s in samples}) == 6
    assert samples[0].prompt_ids == renderer.encode("what is the sky ?")
    assert samples[0].prompt == "what is the sky ?"
    assert draw("b.jsonl", in_flight=1) == samples
    assert draw("c.jsonl", seed=1) != samples
    assert list(read_jsonl(tmp_path / "a.jsonl", ReferenceSample)) == samples


class Stop(Exception):
    pass


@pytest.mark.parametrize("fail_after", [0, 2, 5])
def test_after_an_interruption_no_sample_is_drawn_again(renderer, tmp_path, fail_after):
    blue = WORDS.index("blue")

    class Failing(ScriptedEngine):
        done = 0

        def poll(self):
            if self.done >= fail_after:
                raise Stop
            self.done += 1
            return super().poll()

    def says(ids):
        return EOS if ids[-1] == blue else blue

    reference = ReferenceSet((("g1", "sky"), ("g2", "sea"), ("g3", "grass")), 2, 6, 3)
    path = tmp_path / "reference.jsonl"
    with pytest.raises(Stop):
        sample_reference(Failing(says, per_poll=1), renderer, reference, path)
    assert not path.exists()
    engine = ScriptedEngine(says)
    samples = sample_reference(engine, renderer, reference, path)
    assert len(engine.submitted) == 6 - fail_after
    assert [s.example_id for s in samples] == [f"g{i}/s{n}" for i in (1, 2, 3) for n in (1, 2)]
    assert {s.token_ids for s in samples} == {(blue, EOS)}
    again = ScriptedEngine(says)
    assert sample_reference(again, renderer, reference, path) == samples
    assert again.submitted == []
    assert [p.name for p in tmp_path.iterdir()] == ["reference.jsonl"]


def test_the_packages_prompts_are_many_and_different():
    prompts = load_prompts(None)
    assert len(prompts) >= 30
    assert len({text for _, text in prompts}) == len({key for key, _ in prompts}) == len(prompts)
    assert load_prompts(None, 3) == prompts[:3]


def test_prompts_of_the_user(tmp_path):
    path = tmp_path / "p.jsonl"
    texts = ["one", "line\u2028separator \x85 and more", "three"]
    path.write_text("\n\n".join(json.dumps({"prompt": t, "id": 7}, ensure_ascii=False) for t in texts) + "\n")
    assert [text for _, text in load_prompts(str(path))] == texts
    assert len({key for key, _ in load_prompts(str(path))}) == 3


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"prompt": "a"}\nnot json\n', r'p\.jsonl:2: not a JSON object with a "prompt": \'not json\''),
        ('{"question": "a"}\n', r'p\.jsonl:1: not a JSON object with a "prompt"'),
        ("[1]\n", r"p\.jsonl:1: not a JSON object"),
        ('"prompt"\n', r"p\.jsonl:1: not a JSON object"),
        ('{"prompt": " "}\n', r'p\.jsonl:1: the "prompt" is empty or no text'),
        ('\n{"prompt": 3}\n', r'p\.jsonl:2: the "prompt" is empty or no text'),
        ("\n", r"p\.jsonl has no prompts"),
    ],
)
def test_bad_prompt_files(tmp_path, content, text):
    path = tmp_path / "p.jsonl"
    path.write_text(content)
    with pytest.raises(ConfigError, match=text):
        load_prompts(str(path))


def test_prompt_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"evals\.forgetting\.prompts: cannot read .*none\.jsonl: .*No such file"):
        load_prompts(str(tmp_path / "none.jsonl"))
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "caf\xe9"}\n')
    with pytest.raises(ConfigError, match=r"cannot read .*latin\.jsonl: .*utf-8"):
        load_prompts(str(tmp_path / "latin.jsonl"))
