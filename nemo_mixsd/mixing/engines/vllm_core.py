"""The vLLM that the engine drives: in this process step by step (``LLMEngine``), or ``AsyncLLM`` in its own.

Both offer the same few calls, ``Core``. vLLM's own types stop here.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from nemo_mixsd.errors import EngineError
from nemo_mixsd.mixing.engines.base import Sampling, SegmentRequest
from nemo_mixsd.mixing.engines.vllm_options import VLLMOptions, engine_arguments

if TYPE_CHECKING:
    from vllm import SamplingParams

logger = logging.getLogger(__name__)

Finish = Literal["stop", "length", "error"]


@dataclass(frozen=True, slots=True)
class CoreOutput:
    """What one step gave one request: its new tokens, and how it ended if it did."""

    id: str
    token_ids: tuple[int, ...]
    finish: Finish | None
    cached: int = 0
    """Prompt tokens found in the prefix cache; given once, with the first tokens."""


class Core(Protocol):
    """vLLM, reduced to what mixing needs.

    Attributes:
        slots: Requests that it holds at the same time.
        capacity: Tokens of its key-value cache, or None if unknown.
        context: Longest prompt and output together.
        resumable: Whether a finished request can go on (see ``vllm_sessions``).
    """

    slots: int
    capacity: int | None
    context: int
    resumable: bool

    def add(self, name: str, ids: list[int], segment: SegmentRequest) -> None:
        """Start a request or go on with a resumable one, with ``ids`` as its new input, for ``segment.max_tokens``."""
        ...

    def step(self) -> list[CoreOutput]:
        """One engine step (in process) or whatever has arrived (asynchronous)."""
        ...

    def end(self, names: list[str]) -> None:
        """End resumable requests; their names are not used again."""
        ...

    def close(self) -> None:
        """Give up memory and processes."""
        ...


class RequestParams:
    """Builds vLLM's sampling parameters of a segment."""

    def __init__(self, stop_ids: frozenset[int], sampling: Sampling) -> None:
        self._stop = sorted(stop_ids)
        self._sampling = sampling

    def build(self, segment: SegmentRequest, delta: bool) -> SamplingParams:
        """Greedy decoding to vLLM; above temperature 0 the noise processor turns its argmax into a sample."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        extra: dict[str, Any] | None = None
        if self._sampling.temperature > 0:
            extra = {
                "mixsd": {
                    "seed": self._sampling.seed,
                    "temperature": self._sampling.temperature,
                    "top_k": self._sampling.top_k,
                    "example_id": segment.example_id,
                    "attempt": segment.attempt,
                    "position": segment.position,
                }
            }
        return SamplingParams(
            temperature=0.0,
            max_tokens=segment.max_tokens,
            stop_token_ids=self._stop,
            ignore_eos=True,  # our stop ids alone decide, not those of the model's generation config
            detokenize=False,
            output_kind=RequestOutputKind.DELTA if delta else RequestOutputKind.CUMULATIVE,
            extra_args=extra,
        )


def context_and_capacity(config: Any) -> tuple[int, int | None]:
    """Longest sequence, and tokens of the key-value cache, of a ``VllmConfig`` after the engine's start."""
    blocks = config.cache_config.num_gpu_blocks
    capacity = blocks * config.cache_config.block_size if blocks else None
    return int(config.model_config.max_model_len), capacity


class LocalCore:
    """``LLMEngine`` in this process: no messages between processes, and a segment goes on in the very next step."""

    def __init__(self, path: str, stop_ids: frozenset[int], sampling: Sampling, options: VLLMOptions) -> None:
        """Load the model.

        Raises:
            EngineError: vLLM is not installed, or cannot start with these options.
        """
        try:
            os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
            from vllm import EngineArgs, LLMEngine
        except ImportError as error:
            raise EngineError(missing(error)) from error
        try:
            engine = LLMEngine.from_engine_args(
                EngineArgs(**engine_arguments(path, sampling, options, asynchronous=False))
            )
        except Exception as error:  # vLLM raises bare exceptions of all kinds here
            raise EngineError(not_started(path, error)) from error
        self._engine = engine
        self._core = engine.engine_core
        self._tasks = engine.get_supported_tasks()
        self.slots = options.slots
        self.context, self.capacity = context_and_capacity(engine.vllm_config)
        self.params = RequestParams(frozenset(), Sampling())  # a stop id would cut the probe short
        self.resumable = False
        self.resumable = options.sessions and can_resume(self, engine.input_processor)
        self.params = RequestParams(stop_ids, sampling)

    def add(self, name: str, ids: list[int], segment: SegmentRequest) -> None:
        """See ``Core``. Hands over to the engine core itself: nothing is detokenized or streamed on the way."""
        from vllm.inputs.engine import tokens_input

        more = {"resumable": True} if self.resumable else {}
        request = self._engine.input_processor.process_inputs(
            name, tokens_input(ids), self.params.build(segment, delta=True), supported_tasks=self._tasks, **more
        )
        request.external_req_id = name
        self._core.add_request(request)

    def step(self) -> list[CoreOutput]:
        """See ``Core``."""
        found = []
        for output in self._core.get_output().outputs:
            stats = getattr(output, "prefill_stats", None)
            cached = int(stats.num_cached_tokens) if stats is not None else 0
            found.append(CoreOutput(output.request_id, tuple(output.new_token_ids), finish(output), cached))
        return found

    def end(self, names: list[str]) -> None:
        """See ``Core``."""
        self._core.abort_requests(names)

    def forget(self) -> None:
        """Empty the prefix cache, for measurements; nothing may be in flight."""
        self._engine.reset_prefix_cache()

    def close(self) -> None:
        """See ``Core``."""
        self._core.shutdown()
        del self._core, self._engine


def finish(output: Any) -> Finish | None:
    """How an engine-core output or a completion ended."""
    if output.finish_reason is None:
        return None
    reason = str(output.finish_reason)
    return reason if reason in ("stop", "length") else "error"  # type: ignore[return-value]


def can_resume(core: Core, processor: Any) -> bool:
    """Whether this vLLM goes on with a request as mixing needs it, found out by trying.

    Versions differ: some have no resumable requests, some forget the second segment's length.
    """
    import inspect

    if "resumable" not in inspect.signature(processor.process_inputs).parameters:
        decoded = 0
    else:
        core.resumable = True
        name = "mixsd-probe"
        prompt: tuple[int, ...] = (5, 6, 7)
        first = _decode(core, name, list(prompt), SegmentRequest(name, name, prompt, 1, name))
        prompt = (*prompt, *first, 8)
        decoded = len(_decode(core, name, list(prompt[3:]), SegmentRequest(name, name, prompt, 2, name)))
        core.end([name])
    if decoded != 2:
        logger.warning("this vLLM cannot go on with a request: segments rely on its prefix cache alone, and are slower")
    return decoded == 2


def _decode(core: Core, name: str, ids: list[int], segment: SegmentRequest) -> list[int]:
    tokens: list[int] = []
    core.add(name, ids, segment)
    for _ in range(100):
        for output in core.step():
            tokens.extend(output.token_ids)
            if output.finish is not None:
                return tokens
    return tokens


def missing(error: Exception) -> str:
    """What to say where vLLM cannot be imported."""
    return (
        f"mixing.engine is vllm, but vLLM cannot be imported here ({error}); install it (uv sync --extra vllm) or set "
        "mixing.engine=hf"
    )


def not_started(path: str, error: Exception) -> str:
    """What to say where vLLM does not start."""
    return (
        f"vLLM did not start with {path}: {error}; where memory is short, lower mixing.vllm.gpu_memory_utilization "
        "(nemo-mixsd eval: --vllm gpu_memory_utilization=...) or mixing.max_total_tokens, or take the engine hf"
    )
