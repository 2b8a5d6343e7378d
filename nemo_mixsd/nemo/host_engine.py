"""The ``nemo_rl`` engine: NeMo-RL's vLLM workers decode, for mixed rollouts and for evaluations.

Mixed rollouts go to the workers as whole jobs (``mixer``), so that no call crosses between processes for a segment. As
an ``Engine`` it decodes one request a call, which is what evaluations ask for: one request is one response.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import ray

from nemo_mixsd.config import RunConfig
from nemo_mixsd.errors import EngineError
from nemo_mixsd.mixing.engines.base import Sampling, SegmentRequest, SegmentResult
from nemo_mixsd.mixing.mixer import MixerSettings
from nemo_mixsd.nemo.mix_worker import MixJob
from nemo_mixsd.nemo.mixing import Ask, HostMixer, Start, start_workers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class HostEngine:
    """Implements ``Engine`` over the host's workers."""

    name = "nemo_rl"

    def __init__(
        self, starters: Sequence[Start], askers: Sequence[Ask], job: MixJob, shutdown: Callable[[], None]
    ) -> None:
        """Use running workers.

        Args:
            starters: One for each data-parallel worker, for whole jobs.
            askers: One for each data-parallel worker, for single requests.
            job: What each job has in common: sampling, stop ids, tokenizer.
            shutdown: Ends the workers.
        """
        self._starters = list(starters)
        self._askers = dict(enumerate(askers))
        self._job = job
        self._shutdown = shutdown
        self._flying: dict[ray.ObjectRef, tuple[int, SegmentRequest]] = {}

    @classmethod
    def start(
        cls,
        config: RunConfig,
        model_path: str,
        tokenizer: PreTrainedTokenizerBase,
        stop_ids: frozenset[int],
        sampling: Sampling,
    ) -> HostEngine:
        """Start the workers with a model on the GPUs of the recipe.

        Raises:
            BackendError: There are fewer GPUs than the recipe asks.
            ConfigError: ``policy.generation`` does not fit.
        """
        workers = start_workers(config, model_path, tokenizer, sampled=sampling.temperature > 0)
        settings = MixerSettings(name="", rate=0.0)  # each mixer brings its own
        job = MixJob((), settings, sampling, stop_ids, "contains", config.policy.tokenizer.name or model_path)
        return cls(workers.starters(), workers.askers(sampling, stop_ids), job, workers.close)

    def mixer(self, settings: MixerSettings, verifier: str) -> HostMixer:
        """Mixed rollouts on these workers.

        Args:
            settings: What decides the targets.
            verifier: Name of the rule that accepts.
        """
        job = MixJob((), settings, self._job.sampling, self._job.stop_ids, verifier, self._job.tokenizer)
        return HostMixer(self._starters, job)

    def submit(self, request: SegmentRequest) -> None:
        """Hand a request to the worker that has the fewest.

        Raises:
            EngineError: All workers died.
        """
        if not self._askers:
            raise EngineError(f"example {request.example_id!r}: all workers died")
        load = dict.fromkeys(self._askers, 0)
        for worker, _ in self._flying.values():
            load[worker] = load.get(worker, 0) + 1
        chosen = min(self._askers, key=lambda worker: load[worker])
        self._flying[self._askers[chosen](request)] = (chosen, request)

    def poll(self) -> list[SegmentResult]:
        """Wait for one finished request and return all that are; what a dead worker held goes to another.

        Raises:
            EngineError: vLLM refused a request or failed, or all workers died; names the example.
        """
        found: list[SegmentResult] = []
        while self._flying and not found:
            ray.wait(list(self._flying), num_returns=1)
            ready, _ = ray.wait(list(self._flying), num_returns=len(self._flying), timeout=0)
            for reference in ready:
                worker, request = self._flying.pop(reference)
                try:
                    found.append(ray.get(reference))
                except ray.exceptions.RayActorError as error:
                    if self._askers.pop(worker, None) is not None:
                        what = str(error).splitlines()[0]
                        logger.error("worker %d died: %s; its requests go to another", worker, what)
                    self.submit(request)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause if isinstance(error.cause, EngineError) else EngineError(str(error)) from error
        return found

    def close(self) -> None:
        """End the workers and give their GPUs back. Requests in flight are lost."""
        self._flying.clear()
        self._shutdown()
