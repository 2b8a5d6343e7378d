"""The policy is compared with the model that generated the targets before anything is trained."""

import pytest
import torch

from nemo_mixsd.analysis.nll import Scored, TokenNLL, token_nll
from nemo_mixsd.errors import BackendError, ConfigError
from nemo_mixsd.io import write_jsonl
from nemo_mixsd.nemo.backend import train_nemo
from nemo_mixsd.nemo.policy import InProcessPolicy
from nemo_mixsd.nemo.preflight import Comparison, allowed_gap, judge_gap, preflight
from nemo_mixsd.rundir import RunDirectory
from tests.nemo_rl.test_backend import make_targets, recipe
from tests.nemo_rl.test_policy import settings
from tests.tiny import make_model, make_tokenizer

TARGETS = make_targets(11)


def known(model, targets=TARGETS):
    return list(token_nll(model, [Scored(t.example_id, t.prompt_ids, t.token_ids) for t in targets]))


@pytest.mark.parametrize(("size", "multiple"), [(1, 1), (3, 8)])
def test_the_same_model_has_no_gap(tiny_model_dir, tiny_model, tiny_tokenizer, size, multiple):
    section = settings(tiny_model_dir, logprob_batch_size=size, make_sequence_length_divisible_by=multiple)
    comparison = preflight(InProcessPolicy(section, tiny_tokenizer), TARGETS, known(tiny_model), 0)
    assert comparison.gap < 1e-5
    assert comparison.policy == pytest.approx(comparison.generating, abs=1e-5)
    judge_gap(comparison, 1e-4)


def test_figures_are_means_over_the_tokens_of_the_first_eight(tiny_model_dir, tiny_tokenizer):
    policy = InProcessPolicy(settings(tiny_model_dir, make_sequence_length_divisible_by=1), tiny_tokenizer)
    first = known(policy.model.eval(), TARGETS[:8])
    shifted = [TokenNLL(r.example_id, tuple(value + 0.25 for value in r.nll)) for r in first]
    far_off = [TokenNLL(t.example_id, (99.0,) * len(t.token_ids)) for t in TARGETS[8:]]
    comparison = preflight(policy, TARGETS, [*shifted, *far_off], 0)
    values = [value for record in first for value in record.nll]
    assert comparison.policy == pytest.approx(sum(values) / len(values), abs=1e-5)
    assert comparison.gap == pytest.approx(0.25, abs=1e-5)


@pytest.mark.parametrize(("gap", "limit"), [(0.051, 0.05), (float("nan"), 0.05), (1e-9, 0.0)])
def test_a_gap_above_the_limit_stops_with_the_likely_causes(gap, limit):
    with pytest.raises(BackendError, match=r"Likely causes.*chat template.*tied weights.*preflight_gap=null"):
        judge_gap(Comparison(1.0, 1.0, gap), limit)
    judge_gap(Comparison(1.0, 1.0, gap), None)


def test_the_limit_comes_from_the_recipe():
    assert allowed_gap({}) == 0.05
    assert allowed_gap({"preflight_gap": 1}) == 1.0
    assert allowed_gap({"preflight_gap": None}) is None
    for value in (-1, "much", True):
        with pytest.raises(ConfigError, match="preflight_gap"):
            allowed_gap({"preflight_gap": value})


def test_targets_that_nobody_scored(tiny_model_dir, tiny_tokenizer):
    with pytest.raises(BackendError, match="none of the targets has an NLL"):
        preflight(InProcessPolicy(settings(tiny_model_dir), tiny_tokenizer), TARGETS, [], 0)


@pytest.mark.parametrize("allowed", [False, True])
def test_another_checkpoint_than_the_base_model_is_not_trained(tiny_model_dir, tmp_path, allowed):
    other = tmp_path / "other"
    make_model(seed=1).save_pretrained(other)
    make_tokenizer().save_pretrained(other)
    targets = tmp_path / "targets.jsonl"
    write_jsonl(targets, TARGETS)
    config = recipe(tiny_model_dir, tmp_path / "run", sft={"max_num_steps": 1})
    if allowed:
        policy = {**config.policy.model_dump(), "preflight_gap": None}
        config = recipe(tiny_model_dir, tmp_path / "run", sft={"max_num_steps": 1}, policy=policy)
    with torch.inference_mode():
        write_jsonl(RunDirectory(config).target_nll("sft"), known(make_model()))
    arguments = (config, "sft", str(other), targets, tmp_path / "c")
    if allowed:
        assert train_nemo(*arguments).step == 1
        return
    with pytest.raises(BackendError, match="preflight"):
        train_nemo(*arguments)
    assert train_nemo(config, "sft", str(tiny_model_dir), targets, tmp_path / "c").step == 1
