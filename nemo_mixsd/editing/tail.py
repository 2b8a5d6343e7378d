"""The part of a prompt that a change at the subject's last token can change: from there to the end.

What lies before is computed once and kept as a key-value cache. A gradient step then costs a forward and a backward
pass over the short rest alone; position 0 of it is the subject's last token in every row.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from nemo_mixsd.editing.layers import decoder_layers
from nemo_mixsd.editing.subject import LocatedPrompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Tail:
    """Rows of equal length from the subject's last token on, each with a cache of what stands before it."""

    def __init__(self, model: PreTrainedModel, rows: Sequence[LocatedPrompt]) -> None:
        """Compute the caches.

        Args:
            model: In evaluation mode, its parameters without gradients.
            rows: Prompts, answer included, with equally many ids from ``position`` on.
        """
        self._model = model
        self.rows = len(rows)
        width = max(row.position for row in rows)
        tails = [row.ids[row.position :] for row in rows]
        self.ids = torch.tensor(tails, device=model.device)
        heads = [row.ids[: row.position] for row in rows]  # padded on the left: the tails follow on directly
        mask = torch.tensor([[0] * (width - len(h)) + [1] * len(h) for h in heads], device=model.device).long()
        self._mask = torch.cat([mask.reshape(self.rows, width), torch.ones_like(self.ids)], 1)
        self._positions = (self._mask.cumsum(1) - 1).clamp(min=0)
        self._cache: Any = None
        if width:
            ids = torch.tensor([[0] * (width - len(h)) + list(h) for h in heads], device=model.device)
            with torch.no_grad():
                self._cache = model.get_decoder()(
                    input_ids=ids, attention_mask=mask, position_ids=self._positions[:, :width], use_cache=True
                ).past_key_values

    def log_probs(self, layer: int, delta: torch.Tensor, count: int) -> torch.Tensor:
        """Next-token log-probabilities with ``delta`` added to the hidden state of position 0 after ``layer``.

        Args:
            layer: Whose output is changed.
            delta: ``[hidden]``; gradients flow to it.
            count: How many of the last positions are wanted.

        Returns:
            ``[rows, count, vocabulary]`` float32.
        """
        with _added(self._model, layer, delta):
            logits = self._model(
                input_ids=self.ids,
                attention_mask=self._mask,
                position_ids=self._positions[:, -self.ids.shape[1] :],
                past_key_values=copy.deepcopy(self._cache),  # a pass appends to it
                use_cache=True,
                logits_to_keep=count,
            ).logits
        return torch.log_softmax(logits.float(), -1)


def make_tails(model: PreTrainedModel, rows: Sequence[LocatedPrompt]) -> list[Tail]:
    """Tails of rows of any lengths: one for each length of the rest, since a tokenizer may cut it differently."""
    by_length: dict[int, list[LocatedPrompt]] = {}
    for row in rows:
        by_length.setdefault(len(row.ids) - row.position, []).append(row)
    return [Tail(model, group) for group in by_length.values()]


@contextmanager
def _added(model: PreTrainedModel, layer: int, delta: torch.Tensor) -> Iterator[None]:
    """Add ``delta`` to the output of a layer at position 0, for the forward passes of a block."""

    def hook(module: torch.nn.Module, args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        first = hidden[:, :1] + delta.to(hidden.dtype)
        changed = torch.cat([first, hidden[:, 1:]], 1)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = decoder_layers(model)[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
