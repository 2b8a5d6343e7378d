"""The ``hf`` engine: transformers in this process, on a CPU or one GPU, batched and exact.

One decoding step is one forward pass over all rows in flight, each with its own length; a row whose conditional has
fallen behind catches up in the same pass. Batched arithmetic differs from unbatched in the last bits, so a near tie
could fall either way. Where the two best tokens are closer than such noise, the row is computed again alone and
without a cache, and that decides: so tokens do not depend on batch size, order, or cache.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from nemo_mixsd.errors import EngineError
from nemo_mixsd.mixing.coins import gumbel
from nemo_mixsd.mixing.engines.base import Sampling, SegmentRequest, SegmentResult
from nemo_mixsd.mixing.engines.slots import SlotCache

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TIE_MARGIN = {torch.float32: 2e-3, torch.bfloat16: 0.25, torch.float16: 0.05, torch.float64: 1e-8}
"""Logit gap below which the unbatched pass decides, by dtype: about ten times the noise seen between batch sizes."""
STEP_TOKENS = 4096
"""Upper bound on rows times padded chunk length in one forward pass."""
SHORT_CHUNK = 8
"""Rows that feed at most so many tokens share a pass; longer ones (new prompts) have passes of their own."""


@dataclass(slots=True)
class _Row:
    """A request in flight: the slot it uses, how many of its ids are cached there, and what it has decoded."""

    request: SegmentRequest
    slot: int
    cached: int
    out: list[int] = field(default_factory=list)

    def ids(self) -> list[int]:
        return [*self.request.prompt_ids, *self.out]

    def pending(self) -> int:
        return len(self.request.prompt_ids) + len(self.out) - self.cached


class HFEngine:
    """See the module's text. Implements ``Engine``."""

    name = "hf"

    def __init__(
        self, model: PreTrainedModel, stop_ids: frozenset[int], sampling: Sampling | None = None, slots: int = 64
    ) -> None:
        """Use a loaded model.

        Args:
            model: In evaluation mode, on its device.
            stop_ids: Ids that end a segment.
            sampling: Greedy by default.
            slots: Streams that are decoded at the same time, each with a row of the cache.
        """
        self._model = model
        self._stop = stop_ids
        self._sampling = sampling or Sampling()
        self._margin = TIE_MARGIN.get(model.dtype, 0.25)
        self._cached_decoding = supports_slots(model)
        self._cache = SlotCache(slots)
        self._slot_ids: OrderedDict[str, tuple[int, list[int]]] = OrderedDict()  # stream -> slot, ids; oldest first
        self._free = list(range(slots))
        self._waiting: deque[SegmentRequest] = deque()
        self._rows: dict[str, _Row] = {}  # by stream
        self.forward_passes = 0
        self.ties = 0

    def submit(self, request: SegmentRequest) -> None:
        """Take a request.

        Raises:
            EngineError: The prompt does not fit the model's context, or no token is asked for.
        """
        context = getattr(self._model.config, "max_position_embeddings", None)
        if context is not None and len(request.prompt_ids) >= context:
            raise EngineError(
                f"example {request.example_id!r}: its prompt has {len(request.prompt_ids)} tokens, the model's context "
                f"is {context}"
            )
        if request.max_tokens < 1:
            raise EngineError(f"example {request.example_id!r}: a request for {request.max_tokens} tokens")
        self._waiting.append(request)

    @torch.inference_mode()
    def poll(self) -> list[SegmentResult]:
        """Decode step by step until at least one request is finished."""
        while True:
            self._admit()
            if not self._rows:
                return []
            finished: list[SegmentResult] = []
            for group in self._groups():
                try:
                    logits = self._forward(group)
                except (torch.OutOfMemoryError, RuntimeError) as error:
                    names = ", ".join(repr(row.request.example_id) for row in group[:3])
                    raise EngineError(
                        f"the hf engine failed while decoding {names}{' and others' if len(group) > 3 else ''}: {error}"
                    ) from error
                finished += self._accept(group, logits)
            if finished:
                return finished

    def close(self) -> None:
        """Drop the cache and all requests."""
        self._rows.clear()
        self._waiting.clear()
        self._cache = SlotCache(self._cache.slots)
        self._slot_ids.clear()
        self._free = list(range(self._cache.slots))

    def _admit(self) -> None:
        """Give waiting requests a slot: their stream's own, a free one, or the one unused for longest."""
        held_back: deque[SegmentRequest] = deque()
        while self._waiting:
            request = self._waiting.popleft()
            slot = None if request.stream in self._rows else self._take_slot(request.stream)
            if slot is None:
                held_back.append(request)
                continue
            known = self._slot_ids[request.stream][1]
            common = 0
            limit = min(len(known), len(request.prompt_ids) - 1)
            while common < limit and known[common] == request.prompt_ids[common]:
                common += 1
            self._rows[request.stream] = _Row(request, slot, common)
        self._waiting = held_back

    def _take_slot(self, stream: str) -> int | None:
        if stream in self._slot_ids:
            self._slot_ids.move_to_end(stream)
            return self._slot_ids[stream][0]
        if not self._free:
            idle = next((name for name in self._slot_ids if name not in self._rows), None)
            if idle is None:
                return None
            self._free.append(self._slot_ids.pop(idle)[0])
        self._slot_ids[stream] = (self._free.pop(), [])
        return self._slot_ids[stream][0]

    def _groups(self) -> list[list[_Row]]:
        """Rows in flight, cut into forward passes."""
        rows = sorted(self._rows.values(), key=_Row.pending)
        if not self._cached_decoding:
            return [[row] for row in rows]
        groups: list[list[_Row]] = []
        for row in rows:
            short = row.pending() <= SHORT_CHUNK
            if (
                groups
                and (short or groups[-1][0].pending() > SHORT_CHUNK)
                and ((len(groups[-1]) + 1) * row.pending() <= STEP_TOKENS)
            ):
                groups[-1].append(row)
            else:
                groups.append([row])
        return groups

    def _forward(self, rows: list[_Row]) -> torch.Tensor:
        """Logits ``[B, V]`` float32 after the last id of each row."""
        self.forward_passes += 1
        if not self._cached_decoding:
            return self._alone(rows[0].ids())[None]
        device = self._model.device
        chunks = [row.ids()[row.cached :] for row in rows]
        width = max(map(len, chunks))
        ids = torch.tensor([[0] * (width - len(c)) + c for c in chunks], device=device)
        ends = torch.tensor([row.cached + len(c) for row, c in zip(rows, chunks, strict=True)], device=device)
        positions = ends[:, None] - width + torch.arange(width, device=device)
        starts = torch.tensor([row.cached for row in rows], device=device)
        positions = torch.where(positions >= starts[:, None], positions, -1)  # -1: padding on the left
        length = int(ends.max())
        self._cache.select([row.slot for row in rows], positions, length)
        seen = torch.arange(length, device=device)[None, None, :] <= positions.clamp(min=0)[:, :, None]
        mask = torch.zeros(seen.shape, dtype=self._model.dtype, device=device)
        mask.masked_fill_(~seen, torch.finfo(self._model.dtype).min)
        output = self._model(
            input_ids=ids,
            attention_mask=mask[:, None],
            position_ids=positions.clamp(min=0),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        for row, chunk in zip(rows, chunks, strict=True):
            row.cached += len(chunk)
        last: torch.Tensor = output.logits[:, -1].float()
        return last

    def _alone(self, ids: list[int]) -> torch.Tensor:
        """Logits ``[V]`` float32 after ``ids``: one row, no padding, no cache. What every near tie is decided by."""
        output = self._model(
            input_ids=torch.tensor([ids], device=self._model.device), use_cache=False, logits_to_keep=1
        )
        last: torch.Tensor = output.logits[0, -1].float()
        return last

    def _accept(self, rows: list[_Row], logits: torch.Tensor) -> list[SegmentResult]:
        """Choose each row's next token; return the rows that are finished by it."""
        finished = []
        tokens = self._greedy(rows, logits) if self._sampling.temperature == 0 else self._sampled(rows, logits)
        for row, token in zip(rows, tokens, strict=True):
            row.out.append(token)
            stopped = token in self._stop
            if stopped or len(row.out) >= row.request.max_tokens:
                request = row.request
                self._slot_ids[request.stream] = (row.slot, row.ids()[: row.cached])
                del self._rows[request.stream]
                finished.append(SegmentResult(request.key, tuple(row.out), "stop" if stopped else "length"))
        return finished

    def _greedy(self, rows: list[_Row], logits: torch.Tensor) -> list[int]:
        best = torch.topk(logits, 2)
        close = (best.values[:, 0] - best.values[:, 1] < self._margin).tolist()
        tokens = best.indices[:, 0].tolist()
        for i, row in enumerate(rows):
            if close[i]:
                self.ties += 1
                tokens[i] = int(np.argmax(self._alone(row.ids()).cpu().numpy()))
        return tokens

    def _sampled(self, rows: list[_Row], logits: torch.Tensor) -> list[int]:
        tokens = []
        for row, row_logits in zip(rows, logits.cpu().numpy(), strict=True):
            request = row.request
            position = request.position + len(row.out)
            noise = gumbel(self._sampling.seed, request.example_id, request.attempt, position, len(row_logits))
            token = choose(row_logits, noise, self._sampling, self._margin)
            if token is None:
                self.ties += 1
                token = choose(self._alone(row.ids()).cpu().numpy(), noise, self._sampling, 0.0)
            assert token is not None
            tokens.append(token)
        return tokens


def choose(logits: NDArray[np.float32], noise: NDArray[np.float64], sampling: Sampling, margin: float) -> int | None:
    """Sample by the Gumbel trick: argmax of logits / temperature + noise among the top k.

    Args:
        logits: ``[V]``.
        noise: ``[V]`` standard Gumbel noise.
        sampling: Temperature above 0; top_k or None.
        margin: Uncertainty of the logits.

    Returns:
        The token, or None if errors of ``margin`` in the logits could change it.
    """
    scores = logits.astype(np.float64) / sampling.temperature + noise
    floor = -np.inf
    if sampling.top_k is not None and sampling.top_k < len(logits):
        floor = float(np.partition(logits, -sampling.top_k)[-sampling.top_k])
    possible = np.where(logits >= floor - margin, scores, -np.inf)
    token = int(np.argmax(possible))
    if margin == 0.0:
        return token
    best = possible[token]
    possible[token] = -np.inf
    sure = best - possible.max() >= margin / sampling.temperature and (
        floor == -np.inf or logits[token] > floor + margin
    )
    return token if sure else None


def supports_slots(model: PreTrainedModel) -> bool:
    """Whether every layer is plain full attention, so that the slot cache and its masks are right for it.

    Other architectures (sliding windows, linear attention) are decoded without a cache, one row at a time: slow, and
    right.
    """
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return all(kind == "full_attention" for kind in kinds)
    if getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None):
        return False
    return getattr(config, "model_type", "") in {"llama", "qwen2", "qwen3", "phi3", "olmo2", "smollm3", "granite"}
