"""NLL a token against a loop that scores one token at a time."""

import numpy as np
import pytest
import torch

from nemo_mixsd.analysis.nll import THRESHOLDS, Scored, TokenNLL, mean_nll, score_targets, summarise, token_nll
from tests.samples import target
from tests.tiny import VOCABULARY


def sequences(count=11):
    rng = np.random.default_rng(4)

    def ids(low, high):
        return tuple(int(i) for i in rng.integers(0, VOCABULARY, rng.integers(low, high)))  # id 0 is the padding too

    return [Scored(f"e{i:02d}", ids(1, 14), ids(1, 9)) for i in range(count)]


@torch.no_grad()
def one_at_a_time(model, sequence):
    out = []
    for n, token in enumerate(sequence.token_ids):
        ids = torch.tensor([[*sequence.prompt_ids, *sequence.token_ids[:n]]])
        scores = model(ids).logits[0, -1].double()
        out.append(float(torch.logsumexp(scores, 0) - scores[token]))
    return out


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_equals_a_loop_at_any_batch_size(tiny_model, batch_size):
    items = sequences()
    done = []
    got = {r.example_id: r.nll for r in token_nll(tiny_model, items, batch_size, done.append)}
    assert sorted(got) == [s.id for s in items]
    for s in items:
        assert got[s.id] == pytest.approx(one_at_a_time(tiny_model, s), abs=2e-5)
    assert sum(done) == len(items)
    assert len(done) == -(-len(items) // batch_size)


def test_score_targets_keeps_the_order_and_the_file(tiny_model, tmp_path):
    targets = [target(0, range(2, 12)), target(1, (5,), (22,)), target(2, (6, 7), (23, 9, 8, 7))]
    path = tmp_path / "analysis" / "sft.jsonl"
    first = score_targets(tiny_model, targets, path, 2)
    assert [r.example_id for r in first] == ["e0", "e1", "e2"]
    assert [len(r.nll) for r in first] == [3, 1, 4]
    before = path.read_bytes()
    assert score_targets(None, targets, path, 2) == first  # complete: no model is asked
    assert path.read_bytes() == before


def test_means_are_over_tokens_not_over_sequences():
    records = [TokenNLL("a", (1.0, 2.0, 3.0)), TokenNLL("b", (10.0,))]
    assert mean_nll(records) == 4.0
    assert mean_nll([]) is None
    assert mean_nll([TokenNLL("a", ())]) is None


def test_summary_by_hand():
    values = (0.0, 3.0, 3.5, 4.0, 5.5, 8.0, 8.5, 20.0)
    summary = summarise([TokenNLL("a", values[:3]), TokenNLL("b", values[3:])])
    assert summary == {
        "tokens": 8,
        "mean_nll": pytest.approx(sum(values) / 8),
        "frac_nll_gt_3": 6 / 8,
        "frac_nll_gt_4": 4 / 8,
        "frac_nll_gt_5": 4 / 8,
        "frac_nll_gt_6": 3 / 8,
        "frac_nll_gt_7": 3 / 8,
        "frac_nll_gt_8": 2 / 8,
    }
    assert {3, 5, 8} <= set(THRESHOLDS)


def test_no_tokens_are_not_measured_as_zero():
    summary = summarise([])
    assert summary.pop("tokens") == 0
    assert set(summary.values()) == {None}
