"""The contextual teacher's index logic against a model that can be asked directly."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_mixsd.errors import ConfigError, CorpusError, PromptError
from nemo_mixsd.prompts import PromptRenderer, PromptTemplates
from nemo_mixsd.training.distill_config import OpsdConfig
from nemo_mixsd.training.distill_steps import distill_schedule, rollouts
from nemo_mixsd.training.teacher import (
    TeacherPrompt,
    onto_student,
    shuffle_contexts,
    stack,
    teacher_prompts,
    teacher_row,
)
from nemo_mixsd.types import Method
from tests.samples import example, make_config

ids = st.lists(st.integers(2, 90), min_size=1, max_size=9).map(tuple)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ids, ids, ids), min_size=1, max_size=4), st.integers(1, 4), st.integers(0, 3))
def test_what_the_teacher_reads_comes_back_to_the_student(rows_ids, multiple, extra):
    """A "model" that answers at each position with the whole prefix's sum shows where each answer came from."""
    rows = [teacher_row(TeacherPrompt("e", n, e), r) for n, e, r in rows_ids]
    batch, lengths = stack(rows, pad_id=0, multiple=multiple)
    assert batch.shape[1] % multiple == 0 and lengths.tolist() == [len(e) + len(r) for _, e, r in rows_ids]
    width = max(len(n) + len(r) for n, _, r in rows_ids) + extra
    said = onto_student(batch.cumsum(1).unsqueeze(-1).expand(-1, -1, 2), rows, width)
    assert said.shape == (len(rows), width, 2)
    for i, (naive, expert, response) in enumerate(rows_ids):
        assert batch[i, : lengths[i]].tolist() == [*expert, *response]
        for s in range(width):
            t = s - (len(naive) - 1)  # tokens of the response that position s has seen
            seen = sum(expert) + sum(response[:t]) if 0 <= t <= len(response) else 0
            assert said[i, s].tolist() == [seen, seen]


def test_a_row_knows_where_it_stands():
    row = teacher_row(TeacherPrompt("e", (5, 6), (7, 8, 9, 5, 6)), (10, 1))
    assert (row.ids, row.naive_length, row.shift, row.first, row.end) == ((7, 8, 9, 5, 6, 10, 1), 2, 3, 1, 4)


@pytest.fixture
def renderer(tiny_tokenizer):
    return PromptRenderer(tiny_tokenizer, PromptTemplates("{question}", "{context} {question}"))


def text(renderer, token_ids):
    return renderer.tokenizer.decode(token_ids)


def test_prompts_of_both_and_the_answers(renderer):
    (found,) = teacher_prompts([example(3, aliases=("azure",))], renderer, OpsdConfig(), 100)
    assert found.naive_ids == renderer.naive_ids("what is the colour of w3 ?")
    assert "the colour of w3 is blue. what is the colour" in text(renderer, found.expert_ids)
    assert found.answers == ("blue", "azure")


@pytest.mark.parametrize(("how", "kept"), [("keep_head", "one two what is it"), ("keep_tail", "four five what is it")])
def test_a_long_context_is_cut_as_the_recipe_says(renderer, caplog, how, kept):
    item = example(0, question="what is it ?", context="one two three four five")
    fits = len(renderer.encode("one two what is it ?"))
    opsd = OpsdConfig(max_expert_tokens=fits, on_long_context=how)
    (found,) = teacher_prompts([item], renderer, opsd, 100)
    assert len(found.expert_ids) == fits and kept in text(renderer, found.expert_ids)
    assert "1 of 1 expert prompts are longer" in caplog.text


def test_a_long_context_is_an_error_by_default(renderer):
    item = example(0, question="what is it ?", context="one two three four five")
    with pytest.raises(PromptError, match=r"'e0'.*on_long_context"):
        teacher_prompts([item], renderer, OpsdConfig(max_expert_tokens=8), 100)


def test_a_prompt_that_cutting_does_not_help(renderer):
    item = example(0, question="what is the colour of the sky and the sea ?", context="one two")
    with pytest.raises(PromptError, match="even without its context"):
        teacher_prompts([item], renderer, OpsdConfig(max_expert_tokens=9, on_long_context="keep_tail"), 100)
    with pytest.raises(PromptError, match="naive prompt"):
        teacher_prompts([item], renderer, OpsdConfig(), 9)


def corpus(answers):
    return [example(i, answer=a, target=f"it is {a} .", context=f"fact {i} : {a} .") for i, a in enumerate(answers)]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=14), st.integers(0, 5))
def test_shuffled_contexts_give_everyone_another_answer(answers, seed):
    items = corpus(answers)
    if 2 * max(map(answers.count, answers)) > len(answers):
        with pytest.raises(CorpusError, match="have the answer"):
            shuffle_contexts(items, seed)
        return
    out = shuffle_contexts(items, seed)
    assert [o.question for o in out] == [i.question for i in items]
    assert all(o.answer != i.answer for o, i in zip(out, items, strict=True))
    assert sorted(o.context for o in out) == sorted(i.context for i in items)  # each is shown once
    assert all(o.answer in o.context and o.answer in o.target for o in out)
    assert shuffle_contexts(items, seed) == out


def test_the_control_keeps_the_examples_own_answers_for_the_verifier(renderer):
    items = [example(0, answer="blue", context="blue"), example(1, answer="red", context="red")]
    first, second = teacher_prompts(items, renderer, OpsdConfig(shuffled_context=True), 100)
    assert "red" in text(renderer, first.expert_ids) and first.answers == ("blue",)
    assert "blue" in text(renderer, second.expert_ids) and second.answers == ("red",)


def test_other_seeds_shuffle_otherwise():
    items = corpus([f"a{i}" for i in range(12)])
    assert shuffle_contexts(items, 0) != shuffle_contexts(items, 1)


# ----- the arithmetic of steps -----


@pytest.mark.parametrize(
    ("changes", "method", "wanted"),
    [
        ({}, Method.OPSD, (2, 8, 1, 1000)),  # 16 samples a step; 20 passes over 100 prompts
        ({"opsd__prompts_per_step": 20}, Method.OPSD, (20, 8, 10, 100)),
        ({}, Method.OPSD_NLL, (16, 1, 1, 125)),
        ({"opsd__prompts_per_step": 20}, Method.OPSD_NLL, (16, 1, 1, 125)),
        ({"opsd__max_num_steps": 7}, Method.OPSD, (2, 8, 1, 7)),
        ({"opsd__max_num_epochs": 2}, Method.OPSD, (2, 8, 1, 100)),
        ({"opsd__max_num_steps": 7}, Method.MIXSD_KL, (16, 1, 1, 125)),
    ],
)
def test_schedule(changes, method, wanted):
    found = distill_schedule(make_config(**changes), method, 100)
    assert (found.prompts_per_step, found.num_generations, found.updates_per_step, found.steps) == wanted


@pytest.mark.parametrize("changes", [{"opsd__num_generations": 3}, {"opsd__prompts_per_step": 3}])
def test_rollouts_that_do_not_divide(changes):
    with pytest.raises(ConfigError, match="train_global_batch_size"):
        distill_schedule(make_config(**changes), Method.OPSD, 100)


def test_equal_rollouts_are_refused():
    with pytest.raises(ConfigError, match="all rollouts of a prompt would be equal"):
        make_config(opsd__temperature=0)
    assert make_config(opsd__temperature=0, opsd__num_generations=1).opsd.temperature == 0


def test_rollouts_of_each_method():
    config = make_config(mixing__max_new_tokens=50)
    assert rollouts(config, Method.OPSD).max_new_tokens == 50
    assert (rollouts(config, Method.OPSD_NLL).num_generations, rollouts(config, Method.OPSD_NLL).temperature) == (1, 0)
    with pytest.raises(ValueError, match="no rollouts"):
        rollouts(config, Method.MIXSD_KL)


def test_values_keep_their_dtype():
    row = teacher_row(TeacherPrompt("e", (5,), (7, 8)), (10,))
    assert onto_student(torch.ones(1, 3, 4, dtype=torch.int64), [row], 2).dtype is torch.int64
