"""A key-value cache with one row a stream, where every row has a length of its own (for the ``hf`` engine)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


class SlotCache(Cache):  # type: ignore[misc]
    """Keys and values of ``slots`` rows in preallocated tensors; a forward pass touches any subset of the rows.

    Before a forward pass ``select`` names the rows and where each row's new tokens go. Chunks are padded on the left;
    the padding is written to a last column that no mask ever admits. ``[slots, kv_heads, capacity + 1, head_dim]`` a
    layer, in the model's dtype; the capacity doubles when a row outgrows it.
    """

    def __init__(self, slots: int) -> None:
        super().__init__(layer_class_to_replicate=DynamicLayer)
        self.slots = slots
        self.capacity = 128
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._rows = torch.empty(0, dtype=torch.long)
        self._columns = torch.empty(0, 0, dtype=torch.long)
        self._length = 0

    def select(self, rows: Sequence[int], columns: torch.Tensor, length: int) -> None:
        """Prepare a forward pass.

        Args:
            rows: ``B`` slot numbers.
            columns: ``[B, q]`` int64: where each new token is kept; -1 for padding.
            length: Columns that attention may look at: the largest end of any row.
        """
        if length > self.capacity:
            self._grow(length)
        self._rows = torch.tensor(rows, dtype=torch.long, device=columns.device)
        self._columns = torch.where(columns < 0, self.capacity, columns)
        self._length = length

    def _grow(self, length: int) -> None:
        old = self.capacity
        while self.capacity < length:
            self.capacity *= 2
        for tensors in (self._keys, self._values):
            for i, tensor in enumerate(tensors):
                wider = tensor.new_zeros(tensor.shape[0], tensor.shape[1], self.capacity + 1, tensor.shape[3])
                wider[:, :, :old] = tensor[:, :, :old]
                tensors[i] = wider

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store a chunk ``[B, kv_heads, q, head_dim]`` and return ``[B, kv_heads, length, head_dim]``."""
        while len(self._keys) <= layer_idx:
            shape = (self.slots, key_states.shape[1], self.capacity + 1, key_states.shape[3])
            self._keys.append(key_states.new_zeros(shape))
            self._values.append(value_states.new_zeros((*shape[:3], value_states.shape[3])))
        keys, values = self._keys[layer_idx], self._values[layer_idx]
        rows = self._rows[:, None]
        keys[rows, :, self._columns] = key_states.transpose(1, 2)
        values[rows, :, self._columns] = value_states.transpose(1, 2)
        return keys[self._rows, :, : self._length], values[self._rows, :, : self._length]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Zero: positions are given with each forward pass, not derived from the cache."""
        return 0

    def get_mask_sizes(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """Length and offset of what attention sees; the mask itself is given with each forward pass."""
        return self._length, 0
