"""From targets to batches: ids, labels, order, and the loss by hand."""

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nemo_mixsd.errors import BackendError
from nemo_mixsd.io import write_jsonl
from nemo_mixsd.training.data import IGNORE, TargetStream, collate, data_order, load_targets, target_nll_sum
from tests.samples import target
from tests.tiny import EOS


def test_collate_by_hand():
    batch = collate([target(0, (2, 10, 3), (20, 21, EOS)), target(1, (5,), (22,)), target(2, (6, 7), (23, EOS))], 99)
    assert batch["input_ids"].tolist() == [
        [2, 10, 3, 20, 21, EOS],
        [5, 22, 99, 99, 99, 99],
        [6, 7, 23, EOS, 99, 99],
    ]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0]]
    no = IGNORE
    assert batch["labels"].tolist() == [
        [no, no, no, 20, 21, EOS],
        [no, 22, no, no, no, no],
        [no, no, 23, EOS, no, no],
    ]
    assert {t.dtype for t in batch.values()} == {torch.int64}
    assert no == -100


IDS = st.lists(st.integers(0, 50), min_size=1, max_size=9)


@given(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=6), st.integers(0, 50))
def test_the_ids_of_the_targets_are_those_of_the_batch(pairs, pad):
    """Even where the padding id stands inside a prompt or a target."""
    batch = collate([target(i, p, t) for i, (p, t) in enumerate(pairs)], pad)
    for row, (prompt, tokens) in enumerate(pairs):
        seen = batch["input_ids"][row][batch["attention_mask"][row].bool()].tolist()
        assert seen == prompt + tokens
        labels = batch["labels"][row]
        assert labels[labels != IGNORE].tolist() == tokens
        assert (labels != IGNORE).nonzero().flatten().tolist() == list(range(len(prompt), len(prompt) + len(tokens)))
        assert (EOS in labels.tolist()) == (EOS in tokens)


def test_eos_is_a_label_exactly_when_it_was_generated():
    stopped, cut = target(0, (2, EOS, 3), (20, EOS)), target(1, (2, EOS, 3), (20, 21))
    labels = collate([stopped, cut], EOS)["labels"]  # padded with EOS, as many tokenizers do
    assert [(row == EOS).sum().item() for row in labels] == [1, 0]


def by_hand(logits, labels):
    total = 0.0
    for row in range(labels.shape[0]):
        for s in range(1, labels.shape[1]):
            if labels[row, s] != IGNORE:
                scores = logits[row, s - 1].double()
                total += float(torch.log(torch.exp(scores - scores.max()).sum()) + scores.max())
                total -= float(scores[labels[row, s]])
    return total


def test_target_nll_sum_by_hand():
    torch.manual_seed(0)
    logits = 5 * torch.randn(3, 7, 11)
    labels = torch.randint(0, 11, (3, 7))
    labels[torch.rand(3, 7) < 0.5] = IGNORE
    labels[0, 0] = 4  # never predicted: nothing stands before it
    assert target_nll_sum(logits, labels).item() == pytest.approx(by_hand(logits, labels), rel=1e-6)
    assert target_nll_sum(logits.bfloat16(), labels).dtype == torch.float32
    half = logits.bfloat16()
    assert target_nll_sum(half, labels).item() == pytest.approx(by_hand(half.float(), labels), rel=1e-5)


def test_uniform_logits_cost_the_log_of_the_vocabulary():
    batch = collate([target(0), target(1, (5,), (22,))], 0)
    logits = torch.zeros(2, batch["labels"].shape[1], 32)
    assert target_nll_sum(logits, batch["labels"]).item() == pytest.approx(4 * torch.log(torch.tensor(32.0)).item())


class TinyLanguageModel(torch.nn.Module):
    """Embeddings, a running mean over the prefix, a non-linearity and a head: float64 throughout."""

    def __init__(self, vocabulary=34, width=6):
        super().__init__()
        torch.manual_seed(5)
        self.embed = torch.nn.Parameter(torch.randn(vocabulary, width, dtype=torch.float64))
        self.head = torch.nn.Parameter(torch.randn(width, vocabulary, dtype=torch.float64))

    def forward(self, ids):
        states = self.embed[ids].cumsum(1) / torch.arange(1, ids.shape[1] + 1, dtype=torch.float64)[None, :, None]
        return torch.tanh(states) @ self.head


def test_gradient_by_finite_differences():
    """Central differences, in float64, of the sum of log-probabilities that the test computes itself."""
    model = TinyLanguageModel()
    batch = collate([target(0, (2, 10, 3), (20, 21, EOS)), target(1, (5,), (22,)), target(2, (6, 7, 8, 9), (23, 9))], 0)

    @torch.no_grad()
    def loss():
        total = 0.0
        for prompt, ids in (((2, 10, 3), (20, 21, EOS)), ((5,), (22,)), ((6, 7, 8, 9), (23, 9))):
            logp = model(torch.tensor([[*prompt, *ids]]))[0].log_softmax(-1)
            total -= sum(logp[len(prompt) + n - 1, token].item() for n, token in enumerate(ids))
        return total

    value = target_nll_sum(model(batch["input_ids"]), batch["labels"])
    assert value.item() == pytest.approx(loss(), rel=1e-6)
    value.backward()
    slopes = []
    for parameter in (model.embed, model.head):
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(0, len(flat), 3):
            old = flat[i].item()
            flat[i] = old + 1e-5
            above = loss()
            flat[i] = old - 1e-5
            below = loss()
            flat[i] = old
            slopes.append((above - below) / 2e-5)
            assert gradient[i].item() == pytest.approx(slopes[-1], rel=1e-5, abs=1e-6)
    assert sum(abs(s) > 0.01 for s in slopes) > 20


@given(st.integers(1, 30), st.integers(0, 200), st.integers(0, 5))
def test_every_epoch_is_a_permutation_and_shorter_runs_are_prefixes(count, length, seed):
    order = data_order(count, length, seed)
    assert len(order) == length
    for start in range(0, length - count + 1, count):
        assert sorted(order[start : start + count]) == list(range(count))
    rest = order[length - length % count :]
    assert len(set(rest)) == len(rest)
    assert data_order(count, length // 2, seed) == order[: length // 2]


def test_epochs_and_seeds_differ():
    order = data_order(50, 150, 0)
    epochs = [tuple(order[i : i + 50]) for i in (0, 50, 100)]
    assert len({*epochs, tuple(range(50)), tuple(data_order(50, 50, 1))}) == 5


def test_the_stream_shows_targets_in_order():
    targets = [target(i) for i in range(3)]
    stream = TargetStream(targets, [2, 0, 1, 1])
    assert [stream[i].example_id for i in range(len(stream))] == ["e2", "e0", "e1", "e1"]


def test_targets_that_do_not_fit_are_left_out_and_named(tmp_path, caplog):
    path = tmp_path / "t.jsonl"
    items = [target(0), target(1, tokens=range(20, 40)), target(2, prompt=range(2, 9)), target(3)]
    write_jsonl(path, items)
    with caplog.at_level(logging.WARNING, logger="nemo_mixsd"):
        assert [t.example_id for t in load_targets(path, 6)] == ["e0", "e3"]
    (message,) = caplog.messages
    assert "2 of 4 targets are longer than policy.max_total_sequence_length=6 and are left out (e1, ...)" in message
    caplog.clear()
    assert load_targets(path, 23) == items  # exactly as long as the longest
    assert caplog.messages == []


def test_nothing_to_train_on(tmp_path):
    path = tmp_path / "t.jsonl"
    write_jsonl(path, [target(0)])
    with pytest.raises(BackendError, match=r"all are longer than policy\.max_total_sequence_length=5"):
        load_targets(path, 5)
    write_jsonl(path, [])
    with pytest.raises(BackendError, match=r"t\.jsonl has no target to train on$"):
        load_targets(path, 5)
