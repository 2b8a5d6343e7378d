"""Data parallel: several engines, each in a process of its own, behind one ``Engine``; an example stays with one."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from nemo_mixsd.errors import EngineError
from nemo_mixsd.mixing.engines.base import Sampling, SegmentRequest, SegmentResult
from nemo_mixsd.mixing.engines.vllm_options import VLLMOptions

logger = logging.getLogger(__name__)

REMEMBERED = 8192
"""Examples whose shard is remembered; one that is forgotten may go to another and is prefilled there again."""
PATIENCE = 30.0
"""Seconds that a process has to end after it was asked to."""


class Stepper(Protocol):
    """An engine that can be stepped once at a time, so that new requests join between steps."""

    context: int

    def submit(self, request: SegmentRequest) -> None:
        """See ``Engine``."""
        ...

    def step(self) -> list[SegmentResult]:
        """Some progress; what it finished."""
        ...

    def close(self) -> None:
        """See ``Engine``."""
        ...


Factory = Callable[[int], Stepper]
"""Starts the engine of a shard, by number; has to be picklable."""


class _VLLMFactory:
    """Starts the vLLM of one shard on the GPUs that are its own."""

    def __init__(self, path: str, stop_ids: frozenset[int], sampling: Sampling, options: VLLMOptions) -> None:
        self._arguments = (path, stop_ids, sampling, options)

    def __call__(self, shard: int) -> Stepper:
        path, stop_ids, sampling, options = self._arguments
        os.environ["CUDA_VISIBLE_DEVICES"] = own_devices(
            shard, options.tensor_parallel, os.environ.get("CUDA_VISIBLE_DEVICES")
        )
        from nemo_mixsd.mixing.engines.vllm import VLLMEngine
        from nemo_mixsd.mixing.engines.vllm_core import LocalCore

        share = -(-options.max_in_flight // options.data_parallel)
        # Twice the fair share: the examples of a shard are those that it happens to hold.
        alone = replace(options, data_parallel=1, max_in_flight=min(options.max_in_flight, 2 * share))
        return VLLMEngine(LocalCore(path, stop_ids, sampling, alone), stop_ids)


def own_devices(shard: int, each: int, visible: str | None) -> str:
    """The GPUs of a shard as ``CUDA_VISIBLE_DEVICES``: ``each`` of those that are visible, in order.

    Raises:
        EngineError: There are not enough.
    """
    mine = range(shard * each, (shard + 1) * each)
    if not visible:  # all GPUs of the machine, or none and a CPU build
        return "" if visible == "" else ",".join(map(str, mine))
    devices = visible.split(",")
    if len(devices) < mine.stop:
        raise EngineError(
            f"mixing.vllm.data_parallel x tensor_parallel needs GPU number {mine.stop}, but CUDA_VISIBLE_DEVICES has "
            f"{len(devices)} ({visible})"
        )
    return ",".join(devices[i] for i in mine)


def vllm_factory(path: str, stop_ids: frozenset[int], sampling: Sampling, options: VLLMOptions) -> Factory:
    """What starts the vLLM of each shard."""
    return _VLLMFactory(path, stop_ids, sampling, options)


def _serve(factory: Factory, shard: int, pipe: Connection) -> None:
    """A shard's process: take what has come, step, send what is finished."""
    engine: Stepper | None = None
    in_flight = 0
    try:
        engine = factory(shard)
        pipe.send(("ready", engine.context))
        while True:
            while pipe.poll(0 if in_flight else None):
                request = pipe.recv()
                if request is None:
                    return
                engine.submit(request)
                in_flight += 1
            results = engine.step()
            in_flight -= len(results)
            if results:
                pipe.send(("results", results))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        logger.debug("shard %d: the main process is gone", shard)
    except Exception as error:  # sent to the main process, which raises it
        pipe.send(("error", str(error) if isinstance(error, EngineError) else repr(error)))
    finally:
        if engine is not None:
            engine.close()


class ShardedEngine:
    """Implements ``Engine`` with one process a shard."""

    name = "vllm"

    def __init__(self, factory: Factory, shards: int) -> None:
        """Start all processes and wait until each has its model.

        Raises:
            EngineError: One of them could not start.
        """
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        self._home: OrderedDict[str, int] = OrderedDict()
        self._flying: list[dict[str, str]] = [{} for _ in range(shards)]  # key -> example, for errors
        for shard in range(shards):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(factory, shard, theirs), name=f"vllm-{shard}", daemon=False)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        try:
            self.context = min(int(self._receive(shard)[1]) for shard in range(shards))
        except EngineError:
            self.close()
            raise

    def submit(self, request: SegmentRequest) -> None:
        """Take a request."""
        shard = self._shard(request.example_id)
        self._flying[shard][request.key] = request.example_id
        try:
            self._pipes[shard].send(request)
        except (BrokenPipeError, ConnectionError) as error:
            raise self._lost(shard) from error

    def poll(self) -> list[SegmentResult]:
        """Results of any shard.

        Raises:
            EngineError: A shard failed or died; names an example that it was working on.
        """
        if not any(self._flying):
            return []
        ready = wait(self._pipes)
        found: list[SegmentResult] = []
        for shard, pipe in enumerate(self._pipes):
            if pipe in ready:
                results: list[SegmentResult] = self._receive(shard)[1]
                for result in results:
                    del self._flying[shard][result.key]
                found += results
        return found

    def close(self) -> None:
        """End all processes."""
        for pipe in self._pipes:
            try:
                pipe.send(None)
            except (BrokenPipeError, ConnectionError):
                continue
        for process in self._processes:
            process.join(PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()
        for flying in self._flying:
            flying.clear()

    def _receive(self, shard: int) -> tuple[str, Any]:
        try:
            kind, value = self._pipes[shard].recv()
        except (EOFError, ConnectionError) as error:
            raise self._lost(shard) from error
        if kind == "error":
            names = self._names(shard)
            raise EngineError(f"vLLM process {shard} failed{names}: {value}")
        return kind, value

    def _lost(self, shard: int) -> EngineError:
        process = self._processes[shard]
        process.join(1.0)
        return EngineError(
            f"vLLM process {shard} died (exit code {process.exitcode}){self._names(shard)}; start the same command "
            "again: what is finished is in the journal"
        )

    def _names(self, shard: int) -> str:
        names = list(dict.fromkeys(self._flying[shard].values()))
        shown = ", ".join(repr(name) for name in names[:3])
        return f" while decoding {shown}{' and others' if len(names) > 3 else ''}" if names else ""

    def _shard(self, example_id: str) -> int:
        """Where an example lives: with the shard it had, else with the one that has the fewest requests in flight."""
        shard = self._home.get(example_id)
        if shard is None:
            shard = min(range(len(self._pipes)), key=lambda i: (len(self._flying[i]), i))
            self._home[example_id] = shard
            if len(self._home) > REMEMBERED:
                self._home.popitem(last=False)
        self._home.move_to_end(example_id)
        return shard
