"""MEMIT's closed form: the smallest change of a linear map that gives new keys new values.

With the second moment C = E[k kᵀ] of ordinary keys, keys K of the edits and what is missing of their values R, the
change Δ that minimizes ``weight · tr(Δ C Δᵀ) + ‖R − Δ K‖²`` is ``R Kᵀ (weight · C + K Kᵀ)⁻¹`` (Meng et al. 2023,
Eq. 14). It may be read as least squares: ordinary keys are to keep their values, those of the edits to get theirs.
"""

from __future__ import annotations

import logging
from typing import cast

import torch

from nemo_mixsd.errors import BackendError

logger = logging.getLogger(__name__)

RIDGE = 1e-10
"""First ridge tried on a singular system, as a part of its mean diagonal; each further one is a hundred times that."""


def closed_form_update(moment: torch.Tensor, keys: torch.Tensor, residual: torch.Tensor, weight: float) -> torch.Tensor:
    """The change of the weights, solved in float64.

    Args:
        moment: ``[d, d]``, the second moment C of ordinary keys (not centred).
        keys: ``[d, n]``, a column an edit.
        residual: ``[h, n]``, what is missing of each edit's value.
        weight: MEMIT's λ, above 0.

    Returns:
        ``[h, d]`` float64, to be added to a weight that maps ``[d]`` to ``[h]``.

    Raises:
        BackendError: A number is not finite, or the system cannot be solved.
    """
    k, r = keys.double(), residual.double()
    system = weight * moment.double() + k @ k.T
    if not (torch.isfinite(system).all() and torch.isfinite(r).all()):
        raise BackendError("memit: keys, values or their second moment are not finite; use memit.precision=float32")
    return r @ torch.cholesky_solve(k, _cholesky(system)).mT


def _cholesky(system: torch.Tensor) -> torch.Tensor:
    """Lower factor of a symmetric system; one without full rank (less text than dimensions) gets a small ridge."""
    mean = system.diagonal().mean()
    for ridge in (0.0, *(RIDGE * 100.0**i for i in range(4))):
        shifted = system.clone()
        shifted.diagonal().add_(ridge * mean)
        factor, info = torch.linalg.cholesky_ex(shifted)
        if int(info) == 0:
            if ridge:
                logger.warning(
                    "memit: the second moment has no full rank (too little text for %d dimensions); ridge %.0e of its "
                    "mean diagonal added",
                    system.shape[0],
                    ridge,
                )
            return cast(torch.Tensor, factor)
    raise BackendError("memit: the system of the update cannot be solved; raise memit.covariance.samples")
