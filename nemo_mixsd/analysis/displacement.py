"""How far training moved the weights, and along which directions (Eq. 8 to 11 of the paper).

With the displacement ``delta = theta - theta_0`` and the diagonal Fisher ``F`` at the base model: raw displacement
``sum delta^2`` (Eq. 9), Fisher-weighted displacement ``sum F delta^2`` (Eq. 10), and their quotient over the mean of
``F``, the alignment ratio (Eq. 8, 11): 1 for a direction taken at random, more where the update prefers what the base
model is sensitive to, less where it avoids it. Two checkpoints are read side by side, a few megabytes at a time.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from nemo_mixsd.analysis.fisher import open_fisher, read_info
from nemo_mixsd.analysis.tensorfile import TensorFiles
from nemo_mixsd.analysis.weights import open_checkpoint
from nemo_mixsd.errors import AnalysisError
from nemo_mixsd.io import read_json, write_json

logger = logging.getLogger(__name__)

RUN = 2**21
"""Values of a tensor in memory at a time, of each of the three files."""

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.(\d+)\.")
_KINDS = (
    ("norm", re.compile(r"norm|(?:^|\.)ln_")),
    ("embedding", re.compile(r"embed|(?:^|\.)wte\.|(?:^|\.)wpe\.")),
    ("output", re.compile(r"(?:^|\.)lm_head\.|embed_out")),
    ("attention", re.compile(r"attn|attention")),
    ("mlp", re.compile(r"mlp|feed_forward|experts|\.fc")),
)


@dataclass(slots=True)
class Displacement:
    """Sums over a group of parameters.

    Attributes:
        parameters: How many.
        raw: Sum of squared differences, Eq. 9.
        fisher_weighted: Sum of those times the Fisher, Eq. 10; None without a Fisher.
        fisher_sum: Sum of the Fisher; None without one.
    """

    parameters: int = 0
    raw: float = 0.0
    fisher_weighted: float | None = None
    fisher_sum: float | None = None

    @property
    def alignment(self) -> float | None:
        """Eq. 11; None without a Fisher, without a displacement, or where the Fisher is zero."""
        if self.fisher_weighted is None or not self.fisher_sum or not self.raw:
            return None
        return self.fisher_weighted / self.raw / (self.fisher_sum / self.parameters)

    def add(self, other: Displacement) -> None:
        """Add the sums of other parameters."""
        self.parameters += other.parameters
        self.raw += other.raw
        if other.fisher_weighted is not None and other.fisher_sum is not None:
            self.fisher_weighted = (self.fisher_weighted or 0.0) + other.fisher_weighted
            self.fisher_sum = (self.fisher_sum or 0.0) + other.fisher_sum

    def record(self) -> dict[str, float | int | None]:
        """As JSON: the sums, and what follows from them."""
        return {
            "parameters": self.parameters,
            "raw": self.raw,
            "fisher_weighted": self.fisher_weighted,
            "fisher_mean": None if self.fisher_sum is None else self.fisher_sum / self.parameters,
            "alignment": self.alignment,
        }


@dataclass(slots=True)
class DisplacementTable:
    """Displacement in total, by layer and by kind of module.

    Attributes:
        total: Over all parameters, tied ones once.
        layers: By number of the layer, ``"other"`` outside of them.
        kinds: ``embedding``, ``attention``, ``mlp``, ``norm``, ``output``, ``other``.
    """

    total: Displacement = field(default_factory=Displacement)
    layers: dict[str, Displacement] = field(default_factory=dict)
    kinds: dict[str, Displacement] = field(default_factory=dict)

    def record(self) -> dict[str, object]:
        """As JSON."""
        return {
            **self.total.record(),
            "layers": {name: group.record() for name, group in self.layers.items()},
            "kinds": {name: group.record() for name, group in self.kinds.items()},
        }


def layer_of(name: str) -> str:
    """Number of the layer that a parameter belongs to, or ``other``."""
    found = _LAYER.search(name)
    return found[1] if found else "other"


def kind_of(name: str) -> str:
    """Kind of module that a parameter belongs to, by the names that Hugging Face models use."""
    return next((kind for kind, pattern in _KINDS if pattern.search(name)), "other")


def displacement(base: Path, trained: Path, fisher: Path | None = None) -> DisplacementTable:
    """Compare two checkpoints, weighted by a Fisher if there is one.

    Args:
        base: Directory of the base model, Hugging Face format, safetensors.
        trained: Directory of the trained one.
        fisher: A finished Fisher at the base model.

    Returns:
        Sums in float64, from weights of any dtype.

    Raises:
        AnalysisError: Parameters or shapes differ, a file is missing or cut off, or a value is no finite number.
    """
    opened: list[TensorFiles] = []
    try:
        for directory in (base, trained):
            opened.append(open_checkpoint(directory))
        if fisher is not None:
            opened.append(open_fisher(fisher))
        for other in opened[1:]:
            check_same_parameters(opened[0], other)
        return _sum(*opened)
    finally:
        for files in opened:
            files.close()


def check_same_parameters(one: TensorFiles, other: TensorFiles) -> None:
    """Refuse files whose parameters differ in name or shape.

    Raises:
        AnalysisError: Names the first difference.
    """
    missing = sorted(one.shapes.keys() - other.shapes.keys())
    added = sorted(other.shapes.keys() - one.shapes.keys())
    if missing or added:
        where, name = (one, missing[0]) if missing else (other, added[0])
        count = len(missing) + len(added)
        raise AnalysisError(
            f"{one.where} and {other.where} are of different architectures: {name} is only in {where.where} "
            f"({count} such parameter{'s' if count > 1 else ''}); compare checkpoints of one model"
        )
    for name, shape in one.shapes.items():
        if other.shapes[name] != shape:
            raise AnalysisError(
                f"{name} has shape {list(shape)} in {one.where} and {list(other.shapes[name])} in {other.where}; "
                "compare checkpoints of one model"
            )


def _sum(base: TensorFiles, trained: TensorFiles, fisher: TensorFiles | None = None) -> DisplacementTable:
    table = DisplacementTable()
    for name in sorted(base.shapes, key=_natural):
        own = Displacement()
        for part in _parts(name, base, trained, fisher):
            own.add(part)
        table.total.add(own)
        table.layers.setdefault(layer_of(name), Displacement()).add(own)
        table.kinds.setdefault(kind_of(name), Displacement()).add(own)
    return table


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts layer 2 before layer 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def _parts(name: str, base: TensorFiles, trained: TensorFiles, fisher: TensorFiles | None) -> Iterator[Displacement]:
    for run, before in base.slices(name, RUN):
        after = trained.rows(name, run)
        squares = (after.double() - before.double()).square_()
        part = Displacement(squares.numel(), float(squares.sum()))
        if not torch.isfinite(torch.tensor(part.raw)):
            where = base if not bool(torch.isfinite(before).all()) else trained
            raise AnalysisError(f"{where.where}: {name} holds NaN or infinity; nothing was written")
        if fisher is not None:
            weights = fisher.rows(name, run).double()
            part.fisher_weighted = float((squares * weights).sum())
            part.fisher_sum = float(weights.sum())
            if not torch.isfinite(torch.tensor(part.fisher_sum)):
                raise AnalysisError(f"{fisher.where}: {name} holds NaN or infinity; compute the Fisher again")
        yield part


def ensure_displacement(base: Path, trained: Path, fisher: Path | None, path: Path) -> dict[str, object]:
    """The displacement kept at ``path``; computed if it is not there yet, or was weighted by another Fisher.

    Raises:
        AnalysisError: See ``displacement``; nothing is written then.
    """
    info = None if fisher is None else _fisher_record(fisher)
    if path.is_file():
        found: dict[str, object] = read_json(path)
        if found.get("fisher") == info:
            return found
    record = {**displacement(base, trained, fisher).record(), "fisher": info}
    write_json(path, record)
    return record


def _fisher_record(path: Path) -> dict[str, object]:
    """What a result says of the Fisher that it was weighted by."""
    open_fisher(path).close()
    info = read_info(path)
    return {"key": info.key, "model": info.model, "samples": info.samples, "tokens": info.tokens}
