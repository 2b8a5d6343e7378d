"""The shared losses against sums over the whole vocabulary written out in float64, by value and by gradient."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_mixsd.training.distill_loss import (
    NLL_NORMALIZATION,
    Divergence,
    TopK,
    masked_mean,
    skip_first,
    token_kl,
    token_nll,
    topk_log_probs,
)

B, T, V = 2, 3, 7
KL_TYPES = ("forward", "reverse", "mixed")
OUTSIDE = ("renormalize", "zero", "bucket")


def pair(seed=0, vocabulary=V):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (2 * torch.randn(B, T, vocabulary, generator=generator, dtype=torch.float64) for _ in range(2))
    return student.requires_grad_(True), teacher


def values(student, teacher, divergence, k):
    top = teacher.topk(k, dim=-1)
    topk = topk_log_probs(student, top.values, top.indices, divergence, teacher.logsumexp(-1))
    return token_kl(topk, divergence)


def kl(p, q):
    """KL of two distributions given as plain lists, term by term."""
    return sum(a * (torch.log(a) - torch.log(b)) for a, b in zip(p, q, strict=True) if a > 0)


def dense(student, teacher, divergence, k):
    """The same divergence with the distributions over all of the vocabulary, one position at a time."""
    out = []
    for s, t in zip(student.reshape(-1, student.shape[-1]), teacher.reshape(-1, teacher.shape[-1]), strict=True):
        ps, pt = s.exp() / s.exp().sum(), t.exp() / t.exp().sum()
        inside = sorted(range(len(t)), key=lambda v: -t[v])[:k]
        rest = [v for v in range(len(t)) if v not in inside]
        if divergence.outside_topk == "bucket":
            p = [pt[v] for v in inside] + [sum(pt[v] for v in rest)] * bool(rest)
            q = [ps[v] for v in inside] + [sum(ps[v] for v in rest)] * bool(rest)
            forward, reverse = kl(p, q), kl(q, p)
        else:
            mass = sum(pt[v] for v in inside)
            p = [pt[v] / mass for v in inside]
            if divergence.outside_topk == "renormalize":
                mass = sum(ps[v] for v in inside)
                q = [ps[v] / mass for v in inside]
                forward, reverse = kl(p, q), kl(q, p)
            else:
                q = [ps[v] for v in inside]
                forward = kl(p, q)
                beyond = torch.tensor(-100.0, dtype=torch.float64).exp()  # what the host gives tokens beyond the top-k
                reverse = kl(q + [ps[v] for v in rest], p + [beyond] * len(rest))
        weight = {"forward": 1.0, "reverse": 0.0, "mixed": divergence.mixed_kl_weight}[divergence.kl_type]
        value = weight * forward + (1 - weight) * reverse
        out.append(value if divergence.kl_clip is None else torch.clamp(value, max=divergence.kl_clip))
    return torch.stack(out).reshape(student.shape[:2])


@pytest.mark.parametrize("kl_type", KL_TYPES)
@pytest.mark.parametrize("outside", OUTSIDE)
@pytest.mark.parametrize("k", [1, 3, V])
def test_values_and_gradients_are_those_of_dense_sums(kl_type, outside, k):
    divergence = Divergence(kl_type, 0.3, outside)
    student, teacher = pair(k)
    found, wanted = values(student, teacher, divergence, k), dense(student, teacher, divergence, k)
    tolerance = 1e-5 if outside == "bucket" and k == V else 1e-9  # the empty bucket has its least mass
    torch.testing.assert_close(found, wanted, atol=tolerance, rtol=0)
    weights = torch.rand(B, T, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((v * weights).sum(), student)[0] for v in (found, wanted))
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)


@pytest.mark.parametrize("outside", OUTSIDE)
@pytest.mark.parametrize("kl_type", KL_TYPES)
def test_the_whole_vocabulary_gives_the_exact_kl(outside, kl_type):
    student, teacher = pair(5)
    logp, logq = teacher.log_softmax(-1), student.log_softmax(-1)
    forward, reverse = (logp.exp() * (logp - logq)).sum(-1), (logq.exp() * (logq - logp)).sum(-1)
    weight = {"forward": 1.0, "reverse": 0.0, "mixed": 0.5}[kl_type]
    found = values(student, teacher, Divergence(kl_type, 0.5, outside), V)
    torch.testing.assert_close(found, weight * forward + (1 - weight) * reverse, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("kl_type", "outside"), [("forward", "zero"), ("reverse", "zero"), ("mixed", "bucket")])
def test_gradients_are_finite_differences(kl_type, outside):
    divergence = Divergence(kl_type, 0.6, outside)
    student, teacher = pair(1)
    gradient = torch.autograd.grad(values(student, teacher, divergence, 3).sum(), student)[0]
    step = 1e-6
    for b, t, v in ((0, 0, 0), (0, 2, 5), (1, 1, 3)):
        moved = student.detach().clone()
        moved[b, t, v] += step
        up = values(moved, teacher, divergence, 3).sum()
        moved[b, t, v] -= 2 * step
        slope = (up - values(moved, teacher, divergence, 3).sum()) / (2 * step)
        assert gradient[b, t, v].item() == pytest.approx(slope.item(), abs=1e-6)


def test_by_hand():
    """Teacher 3/4 and 1/4, student half and half, over two tokens: log values one can check on paper."""
    teacher = torch.tensor([[[0.75, 0.25]]]).log()
    student = torch.tensor([[[0.5, 0.5]]]).log()
    indices = torch.tensor([[[0, 1]]])
    topk = topk_log_probs(student, teacher, indices, Divergence())
    assert token_kl(topk, Divergence()).item() == pytest.approx(0.130812, abs=1e-6)
    assert token_kl(topk, Divergence("reverse")).item() == pytest.approx(0.143841, abs=1e-6)
    assert token_kl(topk, Divergence("mixed", 0.25)).item() == pytest.approx(0.140584, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(KL_TYPES), st.sampled_from(["renormalize", "bucket"]), st.integers(1, V))
def test_a_divergence_is_zero_for_equals_and_never_negative(seed, kl_type, outside, k):
    divergence = Divergence(kl_type, 0.4, outside)
    student, teacher = pair(seed)
    assert (values(student, teacher, divergence, k) >= -1e-6).all()
    assert values(teacher, teacher, divergence, k).abs().max() < 1e-6


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["forward", "reverse"]))
def test_a_bucket_never_sees_more_than_the_whole(seed, kl_type):
    """Merging tokens loses information: the divergence grows with k, up to the exact one."""
    student, teacher = pair(seed)
    found = [values(student, teacher, Divergence(kl_type, outside_topk="bucket"), k) for k in range(1, V + 1)]
    for fewer, more in pairwise(found):
        assert (more - fewer >= -1e-5).all()


def test_a_clipped_position_has_no_gradient():
    student, teacher = pair(2)
    free = values(student, teacher, Divergence(), 4)
    limit = free.detach().flatten().sort().values[3].item() + 1e-9
    clipped = values(student, teacher, Divergence(kl_clip=limit), 4)
    assert (clipped <= limit).all() and (free > limit).any()
    gradient = torch.autograd.grad(clipped.sum(), student)[0]
    assert (gradient[free > limit] == 0).all() and (gradient[free < limit].abs().sum(-1) > 0).all()


def test_nll_is_cross_entropy_on_the_teachers_first_choice():
    student, teacher = pair(4)
    top = teacher.topk(3, dim=-1)
    shuffled = torch.tensor([2, 0, 1])  # the order that the host merges its shards in is not promised
    topk = topk_log_probs(student, top.values[..., shuffled], top.indices[..., shuffled], NLL_NORMALIZATION)
    wanted = torch.nn.functional.cross_entropy(student.reshape(-1, V), teacher.argmax(-1).reshape(-1), reduction="none")
    torch.testing.assert_close(token_nll(topk).reshape(-1), wanted)
    ours = torch.autograd.grad(token_nll(topk).sum(), student)[0]
    onehot = torch.nn.functional.one_hot(teacher.argmax(-1), V)
    torch.testing.assert_close(ours, student.detach().softmax(-1) - onehot)


def test_bucket_needs_the_teachers_whole_mass():
    student, teacher = pair()
    top = teacher.topk(2, dim=-1)
    with pytest.raises(ValueError, match="logsumexp"):
        topk_log_probs(student, top.values, top.indices, Divergence(outside_topk="bucket"))


@pytest.mark.parametrize("kl_type", KL_TYPES)
@pytest.mark.parametrize("outside", OUTSIDE)
def test_extreme_logits_stay_finite(kl_type, outside):
    student = torch.tensor([[[80.0, 0.0, -80.0, 0.0]]], requires_grad=True)
    teacher = torch.tensor([[[-80.0, 0.0, 80.0, 0.0]]])
    loss = values(student, teacher, Divergence(kl_type, 0.5, outside), 2).sum()
    assert loss.isfinite() and torch.autograd.grad(loss, student)[0].isfinite().all()


def test_the_parts_of_a_batch_add_up_to_its_mean():
    numbers = torch.arange(12.0).reshape(4, 3)
    mask = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
    whole = masked_mean(numbers, mask, mask.sum())
    assert whole.item() == pytest.approx((0 + 1 + 6 + 7 + 8 + 10) / 6)
    parts = [masked_mean(numbers[i : i + 2], mask[i : i + 2], mask.sum()) for i in (0, 2)]
    assert sum(p.item() for p in parts) == pytest.approx(whole.item())
    assert masked_mean(numbers, torch.zeros_like(mask), torch.tensor(0)).item() == 0.0


def test_first_tokens_are_skipped_in_each_row():
    mask = torch.tensor([[0, 0, 1, 1, 1, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    assert skip_first(mask, 0) is mask
    assert skip_first(mask, 2).tolist() == [[0, 0, 0, 0, 1, 0], [0] * 6, [0] * 6]


def test_half_precision_logits_are_computed_in_float32():
    student, teacher = (x.detach().bfloat16() for x in pair(6))
    top = teacher.topk(3, dim=-1)
    found = topk_log_probs(student, top.values, top.indices, Divergence(outside_topk="zero"))
    assert isinstance(found, TopK) and found.student.dtype is torch.float32 and found.teacher.dtype is torch.float32
