"""The closed form against least squares solved otherwise."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nemo_mixsd.editing.update import closed_form_update
from nemo_mixsd.errors import BackendError

HIDDEN, WIDTH, OLD, NEW = 7, 12, 90, 4


def memory(seed=0, new=NEW, width=WIDTH):
    """A linear associative memory: its weight, old keys, new keys, and what is missing of the new values."""
    rng = np.random.default_rng(seed)
    old = rng.normal(size=(width, OLD)) * rng.uniform(0.2, 3, size=(width, 1))
    return rng.normal(size=(HIDDEN, width)), old, rng.normal(size=(width, new)), rng.normal(size=(HIDDEN, new))


def solve(old, keys, residual, weight):
    moment = torch.from_numpy(old @ old.T / old.shape[1])
    return closed_form_update(moment, torch.from_numpy(keys), torch.from_numpy(residual), weight).numpy()


@pytest.mark.parametrize("weight", [1e-3, 1.0, 50.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_least_squares_solution(weight, seed):
    """Old keys keep their values and new ones get theirs, as NumPy's ``lstsq`` on the stacked equations says."""
    before, old, keys, residual = memory(seed)
    scale = np.sqrt(weight / old.shape[1])
    rows = np.vstack([scale * old.T, keys.T])
    wanted = np.vstack([scale * (before @ old).T, (before @ keys + residual).T])
    expected = np.linalg.lstsq(rows, wanted, rcond=None)[0].T
    np.testing.assert_allclose(before + solve(old, keys, residual, weight), expected, atol=1e-6)


def test_with_little_weight_it_is_the_constrained_solution():
    """min tr(Δ C Δᵀ) subject to Δ K = R, by its optimality conditions, one row of Δ at a time."""
    _, old, keys, residual = memory()
    moment = old @ old.T / OLD
    conditions = np.block([[2 * moment, keys], [keys.T, np.zeros((NEW, NEW))]])
    rows = [np.linalg.solve(conditions, np.concatenate([np.zeros(WIDTH), row]))[:WIDTH] for row in residual]
    np.testing.assert_allclose(solve(old, keys, residual, 1e-8), np.stack(rows), atol=1e-6)


def test_old_keys_are_kept_as_the_covariance_says():
    _, old, keys, residual = memory()
    damage, error = [], []
    for weight in (1e-6, 1e-2, 1.0, 1e2, 1e6):
        change = solve(old, keys, residual, weight)
        damage.append(np.square(change @ old).sum() / OLD)
        error.append(np.square(residual - change @ keys).sum())
        np.testing.assert_allclose(damage[-1], np.trace(change @ (old @ old.T / OLD) @ change.T), rtol=1e-9)
    assert damage == sorted(damage, reverse=True) and error == sorted(error)
    assert error[0] < 1e-9 and damage[-1] < 1e-8
    # what is common among the old keys is spared: the same change costs less than one made without the covariance
    blind = residual @ np.linalg.pinv(keys)
    assert damage[0] < np.square(blind @ old).sum() / OLD


def test_keys_outside_the_old_ones_cost_nothing(caplog):
    """Old keys that span half of the space: the other half is free, although C has no inverse."""
    _, old, keys, residual = memory()
    old[WIDTH // 2 :] = 0
    change = solve(old, keys, residual, 1.0)
    np.testing.assert_allclose(change @ keys, residual, atol=1e-4)
    assert np.abs(change @ old).max() < 1e-3
    zero = solve(np.zeros_like(old), keys[:, :1], residual[:, :1], 1.0)
    assert "no full rank" in caplog.text and np.isfinite(zero).all()


@pytest.mark.parametrize("weight", [1e-4, 1.0, 15_000.0])
def test_one_edit_is_the_rank_one_update(weight):
    """ROME's form for a single key: the residual along C⁻¹k, damped by the weight."""
    _, old, keys, residual = memory(new=1)
    direction = np.linalg.solve(old @ old.T / OLD, keys[:, 0])
    expected = np.outer(residual[:, 0], direction) / (weight + keys[:, 0] @ direction)
    found = solve(old, keys, residual, weight)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)
    assert np.linalg.matrix_rank(found, tol=1e-10) == 1


@given(st.permutations(range(NEW)), st.integers(0, 5))
def test_the_order_of_edits_does_not_matter(order, seed):
    _, old, keys, residual = memory(seed)
    shuffled = solve(old, keys[:, order], residual[:, order], 3.0)
    np.testing.assert_allclose(shuffled, solve(old, keys, residual, 3.0), atol=1e-10)


def test_the_gradient_of_the_objective_vanishes():
    _, old, keys, residual = memory()
    moment, k, r = (torch.from_numpy(x) for x in (old @ old.T / OLD, keys, residual))
    change = closed_form_update(moment, k, r, 2.0).requires_grad_(True)
    (2.0 * torch.trace(change @ moment @ change.T) + (r - change @ k).square().sum()).backward()
    assert float(change.grad.abs().max()) < 1e-9


def test_an_ill_conditioned_float32_moment_is_solved_in_float64():
    _, old, keys, residual = memory()
    old *= np.logspace(0, -3, WIDTH)[:, None]
    moment = torch.from_numpy(old @ old.T / OLD).float()
    found = closed_form_update(moment, torch.from_numpy(keys).float(), torch.from_numpy(residual).float(), 1.0)
    k, r = keys.astype(np.float32).astype(float), residual.astype(np.float32).astype(float)
    expected = np.linalg.solve(moment.double().numpy() + k @ k.T, k @ r.T).T
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-8)


def test_numbers_that_are_none():
    keys, residual = torch.ones(3, 1), torch.ones(2, 1)
    with pytest.raises(BackendError, match="not finite"):
        closed_form_update(torch.full((3, 3), torch.nan), keys, residual, 1.0)
    with pytest.raises(BackendError, match="not finite"):
        closed_form_update(torch.eye(3), keys, residual / 0, 1.0)
    with pytest.raises(BackendError, match=r"cannot be solved; raise memit\.covariance\.samples"):
        closed_form_update(-torch.eye(3), keys, residual, 10.0)
