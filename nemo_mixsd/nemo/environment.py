"""The verifier as a NeMo-RL environment: one turn, reward 1 for an accepted answer and 0 for any other."""

from __future__ import annotations

import itertools
from typing import Any

import ray
import torch
from nemo_rl.distributed.batched_data_dict import BatchedDataDict
from nemo_rl.distributed.virtual_cluster import PY_EXECUTABLES
from nemo_rl.environments.interfaces import EnvironmentInterface, EnvironmentReturn
from nemo_rl.environments.utils import chunk_list_to_workers

from nemo_mixsd.errors import ConfigError
from nemo_mixsd.nemo.judging import Judged, VerifierWorker, judge


class VerifierEnvironment(EnvironmentInterface[dict[str, Any]]):  # type: ignore[misc]
    """Judges the assistant's text of each sample. ``MixSDEnvironment`` is this class as a Ray actor."""

    def __init__(self, cfg: dict[str, Any] | None = None) -> None:
        """Start the workers.

        Args:
            cfg: ``env.mixsd`` of the recipe. ``num_workers`` (default 0): processes that share a batch; 0 judges in
                the environment's own, which is enough unless responses are many and long.

        Raises:
            ConfigError: An unknown key, or a number of workers below 0.
        """
        cfg = dict(cfg or {})
        workers = cfg.pop("num_workers", 0)
        if cfg:
            raise ConfigError(f"env.mixsd: unknown key {min(cfg)!r}; known: num_workers")
        if not isinstance(workers, int) or workers < 0:
            raise ConfigError(f"env.mixsd.num_workers is {workers!r}; it is a number of processes, 0 or more")
        actor = ray.remote(VerifierWorker)
        options = {"num_cpus": 0, "runtime_env": {"py_executable": PY_EXECUTABLES.SYSTEM}}
        self._workers = [actor.options(**options).remote() for _ in range(workers)]
        self._turn = itertools.count()

    def step(
        self, message_log_batch: list[list[dict[str, Any]]], metadata: list[dict[str, Any]]
    ) -> EnvironmentReturn[dict[str, Any]]:
        """Judge one finished turn of each sample.

        Args:
            message_log_batch: ``[B]`` message logs; the texts of the role ``assistant`` count, in order.
            metadata: ``[B]``, the ``extra_env_info`` of our processors; given back as it came.

        Returns:
            Rewards ``[B]`` float32 of 1 or 0, all terminated, empty observations, and the answers found in the texts.
        """
        responses = [
            "".join(str(message["content"]) for message in log if message["role"] == "assistant")
            for log in message_log_batch
        ]
        verdicts = self._judge(responses, metadata)
        return EnvironmentReturn(
            # Nothing is said back: an observation would become part of the sample's tokens.
            observations=[{"role": "environment", "content": ""} for _ in verdicts],
            metadata=metadata,
            next_stop_strings=[None] * len(verdicts),
            rewards=torch.tensor([float(correct) for correct, _ in verdicts], dtype=torch.float32),
            terminateds=torch.ones(len(verdicts), dtype=torch.float32),
            answers=[answer for _, answer in verdicts],
        )

    def _judge(self, responses: list[str], metadata: list[dict[str, Any]]) -> list[Judged]:
        if not self._workers:
            return judge(responses, metadata)
        count = len(self._workers)
        first = next(self._turn)  # batches of one sample would otherwise all go to the first worker
        futures = [
            self._workers[(first + i) % count].judge.remote(texts, infos)
            for i, (texts, infos) in enumerate(
                zip(chunk_list_to_workers(responses, count), chunk_list_to_workers(metadata, count), strict=True)
            )
            if texts
        ]
        return [verdict for part in ray.get(futures) for verdict in part]

    def global_post_process_and_metrics(
        self, batch: BatchedDataDict[Any]
    ) -> tuple[BatchedDataDict[Any], dict[str, float | int]]:
        """Metrics of a finished batch of rollouts.

        Args:
            batch: With ``rewards`` ``[B]``, ``is_end`` ``[B]`` (1 where generation ended by itself),
                ``generation_lengths`` ``[B]`` (prompt and response) and ``prompt_lengths`` ``[B]``.

        Returns:
            The batch as it came, and ``accuracy`` (a response cut off counts as wrong), the fraction that ended by
            itself, the mean lengths in tokens, and the number of samples.
        """
        ended = batch["is_end"].float()
        rewards = batch["rewards"].float() * ended
        lengths = (batch["generation_lengths"] - batch["prompt_lengths"]).float()
        metrics: dict[str, float | int] = {
            "accuracy": rewards.mean().item(),
            "fraction_of_samples_properly_ended": ended.mean().item(),
            "num_problems_in_batch": int(ended.shape[0]),
            "response_lengths": lengths.mean().item(),
            "prompt_lengths": batch["prompt_lengths"].float().mean().item(),
        }
        return batch, metrics

    def shutdown(self) -> None:
        """End the workers."""
        for worker in self._workers:
            ray.kill(worker)
        self._workers = []


MixSDEnvironment = ray.remote(max_restarts=-1, max_task_retries=-1, max_concurrency=1000)(VerifierEnvironment)
"""What ``create_env`` starts. Threads may step it at the same time: it keeps no state but its workers."""
