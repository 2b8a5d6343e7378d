"""The ``vllm`` engine: chains of segments at nearly the cost of plain decoding.

Each conditional of an example is a session of vLLM's (see ``vllm_sessions``). A segment is a request of known length
on it; the next segment, of the other conditional, is handed over before the next engine step, so that an example
decodes one token a step whatever its coins, and no example waits for another.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

from nemo_mixsd.errors import EngineError
from nemo_mixsd.mixing.engines.base import Engine, Sampling, SegmentRequest, SegmentResult
from nemo_mixsd.mixing.engines.vllm_core import Core, CoreOutput, LocalCore
from nemo_mixsd.mixing.engines.vllm_options import VLLMOptions
from nemo_mixsd.mixing.engines.vllm_sessions import Session, SessionTable

logger = logging.getLogger(__name__)

PATIENCE = 2000
"""Steps without any token after which vLLM is taken to be stuck; a prompt of 10,000 tokens takes a dozen."""


@dataclass(slots=True)
class Counters:
    """What has been asked of vLLM.

    Attributes:
        steps: Engine steps.
        requests: Segments handed over.
        opened: Sessions started; the rest of the requests went on with one.
        tokens: Tokens decoded.
        prefill: Prompt tokens computed, those found in the prefix cache not counted.
        cached: Prompt tokens found in the prefix cache.
        given_up: Idle sessions ended to make room.
    """

    steps: int = 0
    requests: int = 0
    opened: int = 0
    tokens: int = 0
    prefill: int = 0
    cached: int = 0
    given_up: int = 0


class VLLMEngine:
    """See the module's text. Implements ``Engine``."""

    name = "vllm"

    def __init__(self, core: Core, stop_ids: frozenset[int]) -> None:
        """Drive a running vLLM.

        Args:
            core: vLLM, started with the same stop ids.
            stop_ids: Ids that end a segment.
        """
        self._core = core
        self._stop = stop_ids
        self._table = SessionTable(core.slots, core.capacity)
        self._waiting: deque[SegmentRequest] = deque()
        self._silent = 0
        self.context = core.context
        self.counters = Counters()

    def submit(self, request: SegmentRequest) -> None:
        """Take a request.

        Raises:
            EngineError: It does not fit the model's context, asks for no token, or vLLM refuses it.
        """
        length = len(request.prompt_ids)
        if length >= self.context:
            raise EngineError(
                f"example {request.example_id!r}: its prompt has {length} tokens, vLLM was started for "
                f"{self.context} (prompt and target together)"
            )
        if request.max_tokens < 1:
            raise EngineError(f"example {request.example_id!r}: a request for {request.max_tokens} tokens")
        if not self._place(request):
            self._waiting.append(request)

    def poll(self) -> list[SegmentResult]:
        """Step until at least one request is finished; an empty list exactly if none are in flight.

        Raises:
            EngineError: vLLM failed or is stuck; names examples in flight.
        """
        while self._table.busy or self._waiting:
            finished = self.step()
            if finished:
                return finished
        return []

    def step(self) -> list[SegmentResult]:
        """One engine step; the requests that it finished, if any.

        Raises:
            EngineError: See ``poll``.
        """
        self._admit()
        try:
            outputs = self._core.step()
        except Exception as error:  # vLLM lets through whatever its workers raise: out of memory, a lost device, ...
            raise EngineError(f"vLLM failed while decoding {self._names()}: {error!r}") from error
        self.counters.steps += 1
        self._silent = 0 if outputs else self._silent + 1
        if self._silent == PATIENCE // 20:
            self._give_up(self._table.close_idle())  # should idle sessions keep the running ones from their memory
        if self._silent > PATIENCE:
            raise EngineError(f"vLLM has given no token for {PATIENCE} steps while decoding {self._names()}")
        return [result for output in outputs if (result := self._accept(output)) is not None]

    def release(self) -> None:
        """Give up all idle sessions: their memory is free, and what is whole of it stays in the prefix cache."""
        self._give_up(self._table.close_idle())

    def close(self) -> None:
        """End vLLM. Requests in flight are lost."""
        self._waiting.clear()
        self._table = SessionTable(self._core.slots, self._core.capacity)
        self._core.close()

    def _admit(self) -> None:
        """Place waiting requests, in order, as far as there is room."""
        for _ in range(len(self._waiting)):
            request = self._waiting.popleft()
            if not self._place(request):
                self._waiting.append(request)

    def _place(self, request: SegmentRequest) -> bool:
        """Go on with the stream's session or open one; False if all slots are busy."""
        if self._table.is_busy(request.stream):
            return False
        resumed = self._table.resume(request)
        if resumed is not None:
            session, ids = resumed
            self._give_up(self._table.make_room(len(ids) + 1, slots=0))
        else:
            outdated = self._table.close(request.stream)
            if outdated is not None:
                self._core.end([outdated])
            self._give_up(self._table.make_room(len(request.prompt_ids) + 1, slots=1))
            if len(self._table) >= self._table.slots:
                return False
            session, ids = self._table.open(request), list(request.prompt_ids)
            self.counters.opened += 1
        self.counters.requests += 1
        self.counters.prefill += len(ids)
        try:
            self._core.add(session.id, ids, request)
        except Exception as error:
            self._table.drop(session)
            raise EngineError(f"example {request.example_id!r}: vLLM refused the request: {error}") from error
        return True

    def _give_up(self, ids: list[str]) -> None:
        if ids:
            self.counters.given_up += len(ids)
            self._core.end(ids)

    def _accept(self, output: CoreOutput) -> SegmentResult | None:
        """Add new tokens to their session; the result if its segment is complete."""
        session = self._table.get(output.id)
        if session is None or session.request is None:
            return None  # the last step of a session that was given up
        if len(session.out) == 0 and output.cached:
            self.counters.cached += output.cached
            self.counters.prefill -= output.cached
        session.out.extend(output.token_ids)
        self.counters.tokens += len(output.token_ids)
        if output.finish is None:
            return None
        request = session.request
        if output.finish == "error" or not session.out:
            raise EngineError(f"example {request.example_id!r}: vLLM ended its request without finishing it")
        tokens = tuple(session.out)
        stopped = tokens[-1] in self._stop
        self._settle(session, stopped)
        return SegmentResult(request.key, tokens, "stop" if stopped else "length")

    def _settle(self, session: Session, stopped: bool) -> None:
        """What becomes of a session whose segment is complete."""
        if not self._core.resumable:
            self._table.drop(session)
            return
        request = session.request
        assert request is not None
        self._table.finish(session)
        if stopped:  # the target is over: neither conditional has more to say
            ended = [self._table.close(stream) for stream in self._table.streams(request.example_id)]
            self._core.end([name for name in ended if name is not None])

    def _names(self) -> str:
        requests = [*self._table.requests(), *self._waiting]
        names = ", ".join(repr(request.example_id) for request in requests[:3])
        return f"{names}{' and others' if len(requests) > 3 else ''}"


def make_vllm_engine(
    path: str, stop_ids: frozenset[int], sampling: Sampling | None = None, options: VLLMOptions | None = None
) -> Engine:
    """Start vLLM with a model, in the way that the options say.

    Args:
        path: Directory or hub id.
        stop_ids: Ids that end a segment.
        sampling: Greedy by default.
        options: See ``VLLMOptions``.

    Raises:
        EngineError: vLLM is not installed or does not start.
    """
    sampling, options = sampling or Sampling(), options or VLLMOptions()
    if options.data_parallel > 1:
        from nemo_mixsd.mixing.engines.vllm_shards import ShardedEngine, vllm_factory

        return ShardedEngine(vllm_factory(path, stop_ids, sampling, options), options.data_parallel)
    if options.mode == "async":
        from nemo_mixsd.mixing.engines.vllm_async import AsyncCore

        return VLLMEngine(AsyncCore(path, stop_ids, sampling, options), stop_ids)
    return VLLMEngine(LocalCore(path, stop_ids, sampling, options), stop_ids)
