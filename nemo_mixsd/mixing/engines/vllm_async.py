"""``AsyncLLM`` as a core: vLLM in a process of its own, driven from an event loop in a thread."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from nemo_mixsd.errors import EngineError
from nemo_mixsd.mixing.engines.base import Sampling, SegmentRequest
from nemo_mixsd.mixing.engines.vllm_core import (
    CoreOutput,
    RequestParams,
    can_resume,
    context_and_capacity,
    finish,
    missing,
    not_started,
)
from nemo_mixsd.mixing.engines.vllm_options import VLLMOptions, engine_arguments

WAIT = 0.5
"""Seconds that a step waits for output."""


class AsyncCore:
    """See ``vllm_core.Core``. A session is one ``generate`` call whose prompt is a stream of inputs."""

    def __init__(self, path: str, stop_ids: frozenset[int], sampling: Sampling, options: VLLMOptions) -> None:
        """Start vLLM.

        Raises:
            EngineError: vLLM is not installed, or cannot start with these options.
        """
        try:
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise EngineError(missing(error)) from error
        self._outputs: queue.SimpleQueue[CoreOutput | Exception] = queue.SimpleQueue()
        self._inputs: dict[str, asyncio.Queue[tuple[list[int], SegmentRequest] | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm-async", daemon=True)
        self._thread.start()

        async def start() -> Any:
            return AsyncLLM.from_engine_args(
                AsyncEngineArgs(**engine_arguments(path, sampling, options, asynchronous=True))
            )

        try:
            self._llm = self._call(start())
        except Exception as error:  # vLLM raises bare exceptions of all kinds here
            self._stop_loop()
            raise EngineError(not_started(path, error)) from error
        self.slots = options.slots
        self.context, self.capacity = context_and_capacity(self._llm.vllm_config)
        self.params = RequestParams(frozenset(), Sampling())  # a stop id would cut the probe short
        self.resumable = False
        self.resumable = options.sessions and can_resume(self, self._llm.input_processor)
        self.params = RequestParams(stop_ids, sampling)

    def add(self, name: str, ids: list[int], segment: SegmentRequest) -> None:
        """See ``Core``."""
        self._loop.call_soon_threadsafe(self._add, name, ids, segment)

    def step(self) -> list[CoreOutput]:
        """Everything that has arrived; waits a moment if nothing has."""
        found: list[CoreOutput] = []
        try:
            item = self._outputs.get(timeout=WAIT)
            while True:
                if isinstance(item, Exception):
                    raise item
                found.append(item)
                item = self._outputs.get_nowait()
        except queue.Empty:
            return found

    def end(self, names: list[str]) -> None:
        """See ``Core``."""
        self._loop.call_soon_threadsafe(self._end, names)

    def close(self) -> None:
        """See ``Core``."""

        async def stop() -> None:
            for task in self._tasks:
                task.cancel()
            self._llm.shutdown()

        self._call(stop())
        self._stop_loop()

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)

    # What follows runs in the loop's thread.

    def _add(self, name: str, ids: list[int], segment: SegmentRequest) -> None:
        inputs = self._inputs.get(name)
        if inputs is None:
            inputs = asyncio.Queue()
            if self.resumable:
                self._inputs[name] = inputs
            task = asyncio.ensure_future(self._serve(name, inputs, segment))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        inputs.put_nowait((ids, segment))

    def _end(self, names: list[str]) -> None:
        for name in names:
            inputs = self._inputs.pop(name, None)
            if inputs is not None:
                inputs.put_nowait(None)

    async def _serve(
        self, name: str, inputs: asyncio.Queue[tuple[list[int], SegmentRequest] | None], first: SegmentRequest
    ) -> None:
        """Run one request to its end and pass on what it decodes."""
        from vllm.inputs.engine import tokens_input

        prompt: Any
        if self.resumable:
            prompt = self._stream(inputs)
        else:
            entry = await inputs.get()
            assert entry is not None
            prompt = tokens_input(entry[0])
        try:
            async for output in self._llm.generate(prompt, self.params.build(first, delta=True), name):
                completion = output.outputs[0] if output.outputs else None
                if completion is not None and (completion.token_ids or completion.finish_reason):
                    cached = int(getattr(output, "num_cached_tokens", 0) or 0)
                    self._outputs.put(CoreOutput(name, tuple(completion.token_ids), finish(completion), cached))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # handed to step(), which raises it in the caller's thread
            self._outputs.put(error)

    async def _stream(
        self, inputs: asyncio.Queue[tuple[list[int], SegmentRequest] | None]
    ) -> AsyncGenerator[Any, None]:
        from vllm.engine.protocol import StreamingInput
        from vllm.inputs.engine import tokens_input

        while (entry := await inputs.get()) is not None:
            ids, segment = entry
            yield StreamingInput(prompt=tokens_input(ids), sampling_params=self.params.build(segment, delta=True))
