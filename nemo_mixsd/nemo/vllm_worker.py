"""The host's asynchronous vLLM worker with two methods more: ``mix`` and ``respond``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import ray
from nemo_rl.models.generation.vllm.vllm_worker_async import VllmAsyncGenerationWorkerImpl

from nemo_mixsd import models
from nemo_mixsd.mixing.engines.base import Sampling, SegmentRequest, SegmentResult
from nemo_mixsd.nemo.mix_worker import MixJob, Outcome, mix, respond


class MixingWorkerImpl(VllmAsyncGenerationWorkerImpl):  # type: ignore[misc]
    """Everything that the host's worker does, and mixed rollouts with the same engine and weights."""

    async def mix(self, job: MixJob) -> AsyncIterator[Outcome]:
        """Targets and discards of a job, as they are finished; the driver reads them as a stream.

        Raises:
            EngineError: vLLM refused a request or failed; names the example.
        """
        from nemo_mixsd.mixing.engines.vllm_core import RequestParams

        request_parameters = RequestParams(job.stop_ids, job.sampling)
        tokenizer: Any = models.load_tokenizer(job.tokenizer)
        outcomes = mix(
            self.llm,
            job,
            lambda segment: request_parameters.build(segment, delta=False),
            lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True)),
        )
        async for outcome in outcomes:
            yield outcome

    async def respond(self, request: SegmentRequest, sampling: Sampling, stop_ids: frozenset[int]) -> SegmentResult:
        """Decode one request, beside whatever else is in flight.

        Raises:
            EngineError: vLLM refused the request or failed; names the example.
        """
        from nemo_mixsd.mixing.engines.vllm_core import RequestParams

        parameters = RequestParams(stop_ids, sampling).build(request, delta=False)
        return await respond(self.llm, request, parameters, stop_ids)


MixingWorker = ray.remote(MixingWorkerImpl)
"""What the host's worker group starts, in the Python environment that it keeps for vLLM."""
