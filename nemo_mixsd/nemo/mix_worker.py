"""Mixed rollouts inside a NeMo-RL vLLM worker: the segment scheduler sits next to the engine, no call crosses between.

Each segment is a request to vLLM's ``AsyncLLM``, and the prefix cache holds the shared prefix of both conditionals.
Nothing here imports the host, so that the part which decides about tokens is tested without it.
"""

from __future__ import annotations

import asyncio
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
        self._count = 0

    def submit(self, request: SegmentRequest) -> None:
        """Take a request."""
        self._in_flight += 1
        self._count += 1
        name = f"mixsd-{id(self)}-{self._count}"
        asyncio.run_coroutine_threadsafe(self._serve(name, request), self._loop)

    async def _serve(self, name: str, request: SegmentRequest) -> None:
        try:
            last = None
            prompt = {"prompt_token_ids": list(request.prompt_ids)}
            async for output in self._llm.generate(
                prompt=prompt, sampling_params=self._parameters(request), request_id=name
            ):
                last = output
            tokens = tuple(last.outputs[0].token_ids) if last is not None else ()
            if not tokens:
                raise EngineError(f"example {request.example_id!r}: vLLM ended its request without a token")
            self._done.put(SegmentResult(request.key, tokens, "stop" if tokens[-1] in self._stop else "length"))
        except EngineError as error:
            self._done.put(error)
        except Exception as error:  # vLLM lets through whatever its processes raise
            message = f"example {request.example_id!r}: vLLM failed: {error!r}"
            self._done.put(EngineError(message))

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
