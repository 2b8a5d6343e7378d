"""Reading keys and hidden states: forward passes that stop at the layer of interest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from nemo_mixsd.editing.layers import decoder_layers, down_proj

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Ids = tuple[int, ...]


class _Stop(Exception):
    """Ends a forward pass once all that is wanted of it has been seen."""


def padded(rows: Sequence[Ids], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows padded on the right, where a causal model cannot see the padding from any real position.

    Returns:
        ``[B, S]`` int64 ids, and ``[B, S]`` bool, true on real ids.
    """
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max())
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    return ids.to(device), (torch.arange(width) < lengths[:, None]).to(device)


@torch.no_grad()
def read_keys(model: PreTrainedModel, layers: Sequence[int], rows: Sequence[Ids]) -> dict[int, torch.Tensor]:
    """The inputs of ``down_proj``, its keys, in one forward pass that ends at the last of ``layers``.

    Returns:
        ``[tokens, intermediate]`` a layer, over all real positions of all rows, row by row.
    """
    ids, real = padded(rows, model.device)
    found: dict[int, torch.Tensor] = {}

    def note(layer: int) -> Any:
        def hook(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            found[layer] = args[0][real]
            if layer == max(layers):
                raise _Stop

        return hook

    handles = [down_proj(model, layer).register_forward_pre_hook(note(layer)) for layer in layers]
    with _removed(handles):
        _run(model, ids)
    return found


def last_keys(model: PreTrainedModel, layer: int, heads: Sequence[Ids], batch_size: int) -> torch.Tensor:
    """The key at the last id of each row: ``[rows, intermediate]``, float64."""
    parts = []
    for batch in _batches(heads, batch_size):
        keys = read_keys(model, [layer], batch)[layer]
        ends = torch.tensor([len(row) for row in batch]).cumsum(0) - 1
        parts.append(keys[ends.to(keys.device)].double())
    return torch.cat(parts)


@torch.no_grad()
def last_hidden(model: PreTrainedModel, layer: int, heads: Sequence[Ids], batch_size: int) -> torch.Tensor:
    """The hidden state after ``layer`` at the last id of each row: ``[rows, hidden]``, float64."""
    parts = []
    for batch in _batches(heads, batch_size):
        ids, _ = padded(batch, model.device)
        kept: list[torch.Tensor] = []

        def hook(module: torch.nn.Module, args: Any, output: Any, kept: list[torch.Tensor] = kept) -> None:
            kept.append(output[0] if isinstance(output, tuple) else output)
            raise _Stop

        with _removed([decoder_layers(model)[layer].register_forward_hook(hook)]):
            _run(model, ids)
        ends = torch.tensor([len(row) - 1 for row in batch], device=ids.device)
        parts.append(kept[0][torch.arange(len(batch), device=ids.device), ends].double())
    return torch.cat(parts)


def _batches(rows: Sequence[Ids], size: int) -> Iterator[Sequence[Ids]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _run(model: PreTrainedModel, ids: torch.Tensor) -> None:
    try:
        model.get_decoder()(input_ids=ids, use_cache=False)
    except _Stop:
        return
    raise AssertionError("the layer to stop at was never reached")


@contextmanager
def _removed(handles: Sequence[Any]) -> Iterator[None]:
    """Take hooks off again, whatever happens."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
