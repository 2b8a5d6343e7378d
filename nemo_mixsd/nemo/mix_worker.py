"""Mixed rollouts inside a NeMo-RL vLLM worker: the segment scheduler sits next to the engine, no call crosses between.

Each segment is a request to vLLM's ``AsyncLLM``, and the prefix cache holds the shared prefix of both conditionals.
Nothing here imports the host, so that the part which decides about tokens is tested without it.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from nemo_mixsd.errors import EngineError
from nemo_mixsd.mixing.engines.base import Sampling, SegmentRequest, SegmentResult
from nemo_mixsd.mixing.mixer import Mixer, MixerSettings
from nemo_mixsd.mixing.verifier import make_verifier
from nemo_mixsd.types import Discard, MixRequest, Target

Outcome = Target | Discard
_COUNT = itertools.count()


@dataclass(frozen=True, slots=True)
class MixJob:
    """What a worker is to do.

    Attributes:
        requests: Prompts of its examples.
        settings: What decides the targets.
        sampling: How tokens are chosen.
        stop_ids: Ids that end a target.
        verifier: Name of the rule that accepts.
        tokenizer: Directory or hub id; turns token ids into the text that is verified.
    """

    requests: tuple[MixRequest, ...]
    settings: MixerSettings
    sampling: Sampling
    stop_ids: frozenset[int]
    verifier: str
    tokenizer: str


class AsyncLLMEngine:
    """``Engine`` on an ``AsyncLLM`` that lives in an event loop; used from another thread than the loop's."""

    name = "nemo_rl"

    def __init__(
        self,
        llm: Any,
        loop: asyncio.AbstractEventLoop,
        stop_ids: frozenset[int],
        parameters: Callable[[SegmentRequest], Any],
    ) -> None:
        """Use a running engine.

        Args:
            llm: vLLM's ``AsyncLLM``, as the host's worker made it.
            loop: Where it lives.
            stop_ids: Ids that end a segment.
            parameters: vLLM's sampling parameters of a segment.
        """
        self._llm = llm
        self._loop = loop
        self._stop = stop_ids
        self._parameters = parameters
        self._done: queue.SimpleQueue[SegmentResult | Exception] = queue.SimpleQueue()
        self._in_flight = 0

    def submit(self, request: SegmentRequest) -> None:
        """Take a request."""
        self._in_flight += 1
        asyncio.run_coroutine_threadsafe(self._serve(request), self._loop)

    async def _serve(self, request: SegmentRequest) -> None:
        try:
            self._done.put(await respond(self._llm, request, self._parameters(request), self._stop))
        except Exception as error:  # raised again by ``poll``
            self._done.put(error)

    def poll(self) -> list[SegmentResult]:
        """Wait for one finished request and return all that are.

        Raises:
            EngineError: vLLM failed; names the example.
        """
        found: list[SegmentResult] = []
        while self._in_flight and (not found or not self._done.empty()):
            item = self._done.get()
            if isinstance(item, Exception):
                raise item
            self._in_flight -= 1
            found.append(item)
        return found

    def close(self) -> None:
        """Nothing: the engine is the worker's."""


async def mix(
    llm: Any,
    job: MixJob,
    parameters: Callable[[SegmentRequest], Any],
    decode: Callable[[tuple[int, ...]], str],
) -> AsyncIterator[Outcome]:
    """Run a job on an ``AsyncLLM`` of the running event loop; outcomes come as they are finished.

    Args:
        llm: The engine.
        job: What to do.
        parameters: vLLM's sampling parameters of a segment.
        decode: Token ids to text without special tokens.

    Raises:
        EngineError: vLLM refused a request or failed; names the example.
    """
    loop = asyncio.get_running_loop()
    outcomes: asyncio.Queue[Outcome | Exception | None] = asyncio.Queue()
    stopped = threading.Event()
    engine = AsyncLLMEngine(llm, loop, job.stop_ids, parameters)
    mixer = Mixer(engine, make_verifier(job.verifier), decode, job.settings)

    def work() -> None:
        last: Exception | None = None
        try:
            for outcome in mixer.run(job.requests):
                if stopped.is_set():
                    return
                loop.call_soon_threadsafe(outcomes.put_nowait, outcome)
        except Exception as error:  # raised again where the outcomes are read
            last = error
        loop.call_soon_threadsafe(outcomes.put_nowait, last)

    thread = threading.Thread(target=work, name="mixsd-scheduler", daemon=True)
    thread.start()
    try:
        while (item := await outcomes.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stopped.set()


async def respond(llm: Any, segment: SegmentRequest, parameters: Any, stop_ids: frozenset[int]) -> SegmentResult:
    """Decode one request with an ``AsyncLLM`` of the running event loop: plain generation, for evaluations.

    Args:
        llm: The engine.
        segment: What to decode.
        parameters: vLLM's sampling parameters of it.
        stop_ids: Ids that end it.

    Raises:
        EngineError: vLLM refused the request or failed; names the example.
    """
    last = None
    name = f"mixsd-respond-{next(_COUNT)}"
    try:
        prompt = {"prompt_token_ids": list(segment.prompt_ids)}
        async for output in llm.generate(prompt=prompt, sampling_params=parameters, request_id=name):
            last = output
    except Exception as error:  # vLLM lets through whatever its processes raise
        raise EngineError(f"example {segment.example_id!r}: vLLM failed: {error!r}") from error
    tokens = tuple(last.outputs[0].token_ids) if last is not None else ()
    if not tokens:
        raise EngineError(f"example {segment.example_id!r}: vLLM ended its request without a token")
    return SegmentResult(segment.key, tokens, "stop" if tokens[-1] in stop_ids else "length")
