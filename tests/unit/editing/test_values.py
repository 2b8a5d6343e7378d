"""Target values: what the optimization promises, checked on plain passes."""

import pytest
import torch

from nemo_mixsd.editing.config import MemitConfig
from nemo_mixsd.editing.edits import Edit
from nemo_mixsd.editing.prefixes import random_prefixes
from nemo_mixsd.editing.states import last_hidden
from nemo_mixsd.editing.subject import LocatedPrompt
from nemo_mixsd.editing.values import edit_prompts, optimise_value
from nemo_mixsd.errors import BackendError, PromptError
from tests.editing import whole_pass

PREFIXES = ("it was w40 w41 .", "the w50 w51 w52 .")
LAYER = 1


@pytest.fixture
def prompts(renderer, edits):
    return edit_prompts(renderer, edits[0], PREFIXES)


def nll(model, prompts, delta):
    """Mean NLL of the answer, by full passes."""
    found = []
    for prompt in prompts.prompts:
        row = LocatedPrompt((*prompt.ids, *prompts.answer_ids), prompt.position)
        log_probs = whole_pass(model, row, LAYER, delta)
        count = len(prompts.answer_ids)
        found += [-log_probs[-count - 1 + i, token] for i, token in enumerate(prompts.answer_ids)]
    return float(torch.stack(found).mean())


def test_prompts_of_an_edit(renderer, edits, prompts):
    bare, first, second = prompts.prompts
    assert bare.ids == renderer.naive_ids(edits[0].question)
    assert first.ids == renderer.encode(f"{PREFIXES[0]} {edits[0].question}")
    assert [renderer.tokenizer.decode([p.ids[p.position]]) for p in (bare, first, second)] == ["sky"] * 3
    assert prompts.answer_ids == tuple(renderer.tokenizer("green")["input_ids"])
    assert renderer.tokenizer.decode(list(prompts.essence.ids[-2:])) == "sky is"
    assert renderer.tokenizer.decode([prompts.essence.ids[prompts.essence.position]]) in ("sky", "<unk>")
    with pytest.raises(PromptError, match="'e0': its answer ' ' has no tokens"):
        edit_prompts(renderer, Edit("e0", "sky", edits[0].question, " ", edits[0].span), ())


def test_the_value_makes_the_answer_likely(family, prompts):
    settings = MemitConfig(weight_decay=0, kl_factor=0, clamp_norm_factor=50)
    found = optimise_value(family, LAYER, prompts, settings)
    hidden = last_hidden(family, LAYER, [prompts.prompts[0].head], 1)[0].float()
    delta = torch.tensor(found.value) - hidden
    assert found.nll_before == pytest.approx(nll(family, prompts, torch.zeros(32)), abs=1e-4)
    assert found.nll_after == pytest.approx(nll(family, prompts, delta), abs=1e-3)
    assert found.nll_after < found.nll_before - 0.5  # a random model: little of a state reaches the answer
    assert found.change == pytest.approx(float(delta.norm() / hidden.norm()), rel=1e-4)
    assert optimise_value(family, LAYER, prompts, settings) == found


def test_the_change_is_clamped(family, prompts):
    found = optimise_value(family, LAYER, prompts, MemitConfig(clamp_norm_factor=0.5, stop_loss=0))
    assert found.change == pytest.approx(0.5, rel=1e-3) and found.steps == 25


def test_the_weights_of_the_loss(family, prompts):
    def run(**changes):
        settings = {"weight_decay": 0, "kl_factor": 0, "clamp_norm_factor": 50, "stop_loss": 0, **changes}
        return optimise_value(family, LAYER, prompts, MemitConfig(**settings))

    free = run()
    assert run(kl_factor=20).kl < free.kl
    assert run(weight_decay=5).change < free.change
    assert free.steps == 25 and run(steps=3).steps == 3
    between = (free.nll_before + free.nll_after) / 2
    early = run(stop_loss=between)
    assert 0 < early.steps < 25 and free.nll_after < early.nll_after < between
    assert run(stop_loss=free.nll_before + 1).steps == 0


def test_one_step_is_adam_on_the_loss(family, prompts):
    """The first step of Adam is lr times the sign of the gradient; its direction, by finite differences."""
    found = optimise_value(family, LAYER, prompts, MemitConfig(steps=1, lr=0.01, weight_decay=0, kl_factor=0))
    hidden = last_hidden(family, LAYER, [prompts.prompts[0].head], 1)[0].float()
    delta = torch.tensor(found.value) - hidden
    checked = 0
    for i in range(32):
        step = torch.zeros(32)
        step[i] = 5e-2
        slope = nll(family, prompts, step) - nll(family, prompts, -step)
        if abs(slope) > 2e-5:
            assert float(delta[i]) == pytest.approx(-0.01 if slope > 0 else 0.01, rel=1e-2)
            checked += 1
    assert checked >= 8


def test_a_loss_that_is_no_number(family, prompts):
    family.lm_head.weight.data[0, 0] = float("nan")
    with pytest.raises(BackendError, match="the loss of edit 'e0' is"):
        optimise_value(family, LAYER, prompts, MemitConfig())


def test_random_prefixes(family, renderer):
    found = random_prefixes(family, renderer, 4, 6, seed=1)
    assert len(set(found)) == 4
    assert found == random_prefixes(family, renderer, 4, 6, seed=1)
    assert found[:2] == random_prefixes(family, renderer, 2, 6, seed=1)
    assert found != random_prefixes(family, renderer, 4, 6, seed=2)
    assert all(text[-1] in ".!?" and "\n" not in text and "  " not in text for text in found)
    assert random_prefixes(family, renderer, 0, 6, seed=1) == ()
