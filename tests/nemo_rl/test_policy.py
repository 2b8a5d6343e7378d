"""The in-process policy behind the host's interfaces, against sums written out by hand."""

import pytest
import torch
from nemo_rl.algorithms.loss.loss_functions import DistillationLossConfig, DistillationLossFn, NLLLossFn
from nemo_rl.distributed.batched_data_dict import BatchedDataDict
from transformers import AutoModelForCausalLM, AutoTokenizer

from nemo_mixsd.errors import BackendError, ConfigError
from nemo_mixsd.nemo.policy import InProcessPolicy
from tests.tiny import EOS

SEQUENCES = [[2, 12, 13, 3, 18, 19, 1], [2, 7, 3, 19, 1], [2, 3, 20, 21], [2, 9, 3, 30, 31, 32]]
PROMPTS = [4, 3, 2, 3]
SCHEDULE = {"name": "torch.optim.lr_scheduler.ConstantLR", "kwargs": {"factor": 1.0, "total_iters": 1}}


def settings(model, **changes):
    return {
        "model_name": str(model),
        "train_global_batch_size": 4,
        "train_micro_batch_size": 4,
        "precision": "float32",
        "max_grad_norm": None,
        "optimizer": {"name": "torch.optim.SGD", "kwargs": {"lr": 0.1}},
        "scheduler": SCHEDULE,
        "max_total_sequence_length": 32,
        **changes,
    }


def batch(sequences=SEQUENCES, prompts=PROMPTS, weights=None):
    width = max(map(len, sequences))
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    mask = torch.zeros(len(sequences), width, dtype=torch.long)
    for i, (sequence, prompt) in enumerate(zip(sequences, prompts, strict=True)):
        ids[i, : len(sequence)] = torch.tensor(sequence)
        mask[i, prompt : len(sequence)] = 1
    return BatchedDataDict(
        input_ids=ids,
        input_lengths=torch.tensor([len(s) for s in sequences]),
        token_mask=mask,
        sample_mask=torch.tensor(weights or [1.0] * len(sequences)),
    )


def nll_by_hand(model, sequences, prompts):
    """One sequence at a time, no padding, one token at a time."""
    total, count = torch.zeros(()), 0
    for sequence, prompt in zip(sequences, prompts, strict=True):
        logits = model(torch.tensor([sequence])).logits[0]
        for position in range(prompt, len(sequence)):
            total = total - logits[position - 1].log_softmax(-1)[sequence[position]]
            count += 1
    return total, count


@pytest.fixture
def policy(tiny_model_dir, tiny_tokenizer):
    return InProcessPolicy(settings(tiny_model_dir), tiny_tokenizer)


@pytest.mark.parametrize("micro", [1, 2, 4])
def test_loss_and_step_do_not_depend_on_micro_batches(tiny_model_dir, tiny_tokenizer, micro):
    policy = InProcessPolicy(settings(tiny_model_dir, train_micro_batch_size=micro), tiny_tokenizer)
    witness = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    total, count = nll_by_hand(witness, SEQUENCES, PROMPTS)
    (total / count).backward()
    norm = torch.sqrt(sum((p.grad**2).sum() for p in witness.parameters()))
    result = policy.train(batch(), NLLLossFn())
    metrics = result["all_mb_metrics"]
    assert result["loss"].tolist() == pytest.approx([total.item() / count], abs=1e-5)
    assert sum(metrics["loss"]) == pytest.approx(total.item() / count, abs=1e-5)
    assert metrics["global_valid_toks"] == [count] * (4 // micro)
    assert metrics["lr"] == [0.1] * (4 // micro)
    assert result["grad_norm"].item() == pytest.approx(norm.item(), rel=1e-4)
    for ours, theirs in zip(policy.model.parameters(), witness.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs - 0.1 * theirs.grad, atol=1e-6, rtol=1e-4)


def test_a_masked_sample_counts_for_nothing(policy):
    total, count = nll_by_hand(policy.model, SEQUENCES[1:], PROMPTS[1:])
    result = policy.train(batch(weights=[0.0, 1.0, 1.0, 1.0]), NLLLossFn(), eval_mode=True)
    assert result["loss"].item() == pytest.approx(total.item() / count, abs=1e-5)
    assert result["all_mb_metrics"]["global_valid_toks"] == [count]


def test_evaluation_changes_nothing(policy):
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    result = policy.train(batch(), NLLLossFn(), eval_mode=True)
    assert result["grad_norm"] is None
    assert all(torch.equal(value, before[name]) for name, value in policy.model.state_dict().items())
    assert all(parameter.grad is None for parameter in policy.model.parameters())


def test_two_global_batches_are_two_steps(policy):
    result = policy.train(batch(), NLLLossFn(), gbs=2, mbs=1)
    assert result["loss"].shape == (2,)


def test_gradients_are_clipped_to_the_limit(tiny_model_dir, tiny_tokenizer):
    policy = InProcessPolicy(settings(tiny_model_dir, max_grad_norm=0.01), tiny_tokenizer)
    before = [parameter.detach().clone() for parameter in policy.model.parameters()]
    norm = policy.train(batch(), NLLLossFn())["grad_norm"].item()
    moved = torch.sqrt(sum(((p - b) ** 2).sum() for p, b in zip(policy.model.parameters(), before, strict=True)))
    assert norm > 0.01
    assert moved.item() == pytest.approx(0.1 * 0.01, rel=1e-2)


@pytest.mark.parametrize(("gbs", "mbs"), [(3, 1), (4, 3)])
def test_batches_that_do_not_divide_are_named(policy, gbs, mbs):
    with pytest.raises(ConfigError, match="train_global_batch_size"):
        policy.train(batch(), NLLLossFn(), gbs=gbs, mbs=mbs)


def test_logprobs_position_by_position(policy):
    logprobs = policy.get_logprobs(batch())["logprobs"]
    assert logprobs.shape == (4, 7)
    assert logprobs[:, 0].tolist() == [0.0] * 4
    for row, sequence in zip(logprobs, SEQUENCES, strict=True):
        expected = policy.model(torch.tensor([sequence])).logits[0].log_softmax(-1)
        for position in range(1, len(sequence)):
            assert row[position].item() == pytest.approx(expected[position - 1, sequence[position]].item(), abs=1e-5)


def test_topk_logits_are_unshifted(policy):
    top = policy.get_topk_logits(batch(), k=5, micro_batch_size=3)
    assert top["topk_logits"].shape == top["topk_indices"].shape == (4, 7, 5)
    logits = policy.model(torch.tensor([SEQUENCES[1]])).logits[0]
    torch.testing.assert_close(top["topk_logits"][1, :5], logits.topk(5).values, atol=1e-5, rtol=1e-5)
    assert torch.equal(top["topk_indices"][1, :5], logits.topk(5).indices)


def distillation_settings(**values):
    """The host's section of the loss: a mapping in v0.7.0, a model in main."""
    return values if issubclass(DistillationLossConfig, dict) else DistillationLossConfig(**values)


def test_distilling_from_itself_is_no_loss(policy):
    data = batch()
    top = policy.get_topk_logits(data, k=96)
    data["teacher_topk_logits"], data["teacher_topk_indices"] = top["topk_logits"], top["topk_indices"]
    loss = DistillationLossFn(distillation_settings(kl_type="forward", mixed_kl_weight=0.5, zero_outside_topk=True))
    assert policy.train(data, loss, eval_mode=True)["loss"].item() == pytest.approx(0.0, abs=1e-5)


@pytest.fixture
def generator(tiny_model_dir, tiny_tokenizer):
    generation = {"max_new_tokens": 8, "temperature": 1.0, "top_p": 1.0, "top_k": None, "stop_token_ids": None}
    return InProcessPolicy(settings(tiny_model_dir, generation=generation), tiny_tokenizer, init_optimizer=False)


def test_greedy_generation_equals_the_plainest_loop(generator):
    prompts = [sequence[:prompt] for sequence, prompt in zip(SEQUENCES, PROMPTS, strict=True)]
    data = batch(prompts, PROMPTS)
    out = generator.generate(data, greedy=True)
    for i, prompt in enumerate(prompts):
        ids, scores = list(prompt), []
        while len(ids) < len(prompt) + 8 and (len(ids) == len(prompt) or ids[-1] != EOS):
            logprobs = generator.model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            ids.append(int(logprobs.argmax()))
            scores.append(logprobs.max().item())
        length = int(out["unpadded_sequence_lengths"][i])
        assert out["output_ids"][i, :length].tolist() == ids
        assert out["generation_lengths"][i] == len(ids) - len(prompt)
        assert out["logprobs"][i, len(prompt) : length].tolist() == pytest.approx(scores, abs=1e-4)
        assert not out["logprobs"][i, : len(prompt)].any()
        assert bool(out["truncated"][i]) == (ids[-1] != EOS)
        assert not out["output_ids"][i, length:].any()


def test_generation_stops_at_ids_strings_and_the_longest_sequence(generator, tiny_tokenizer):
    data = batch([[2, 12, 3]], [3])
    free = generator.generate(data, greedy=True)["output_ids"][0, 3:].tolist()
    generator.cfg["generation"]["stop_token_ids"] = [free[2]]
    assert generator.generate(data, greedy=True)["generation_lengths"].tolist() == [free.index(free[2]) + 1]
    generator.cfg["generation"]["stop_token_ids"] = None
    data["stop_strings"] = [[tiny_tokenizer.decode([free[0]])]]
    stopped = generator.generate(data, greedy=True)
    assert (stopped["generation_lengths"].tolist(), stopped["truncated"].tolist()) == ([1], [False])
    del data["stop_strings"]
    generator.cfg["max_total_sequence_length"] = 5
    assert generator.generate(data, greedy=True)["unpadded_sequence_lengths"].tolist() == [5]


def test_sampling_stays_among_the_likeliest(generator):
    generator.cfg["generation"].update(top_k=2, max_new_tokens=1)
    data = batch([[2, 12, 3]] * 64, [3] * 64)
    allowed = set(generator.model(torch.tensor([[2, 12, 3]])).logits[0, -1].topk(2).indices.tolist())
    assert set(generator.generate(data)["output_ids"][:, 3].tolist()) == allowed
    generator.cfg["generation"].update(top_k=None, top_p=1e-6)
    assert len(set(generator.generate(data)["output_ids"][:, 3].tolist())) == 1


def test_generating_without_settings_is_an_error(policy):
    with pytest.raises(ConfigError, match=r"policy\.generation is missing"):
        policy.generate(batch())


def test_checkpoint_loads_as_a_plain_model_and_goes_on_where_it_stopped(policy, tiny_tokenizer, tmp_path):
    policy.train(batch(), NLLLossFn())
    policy.save_checkpoint(tmp_path / "w", tmp_path / "o", tmp_path / "t", {})
    again = InProcessPolicy(policy.cfg, tiny_tokenizer, tmp_path / "w", tmp_path / "o")
    losses = [[p.train(batch(), NLLLossFn())["loss"].item() for _ in range(3)] for p in (policy, again)]
    assert losses[0] == losses[1]
    assert AutoTokenizer.from_pretrained(tmp_path / "w").chat_template == tiny_tokenizer.chat_template
    AutoModelForCausalLM.from_pretrained(tmp_path / "w")


def test_what_it_cannot_do_it_says(policy):
    with pytest.raises(BackendError, match="no reference model"):
        policy.get_reference_policy_logprobs(batch())
    with pytest.raises(BackendError, match="fp8"):
        policy.calibrate_qkv_fp8_scales(batch())
