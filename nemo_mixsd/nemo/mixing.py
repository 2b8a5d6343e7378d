"""Mixed rollouts by NeMo-RL's vLLM workers: examples are spread over the data-parallel ones, outcomes stream back."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from nemo_rl.distributed.named_sharding import NamedSharding
from nemo_rl.distributed.virtual_cluster import RayVirtualCluster, init_ray
from nemo_rl.distributed.worker_groups import RayWorkerBuilder, RayWorkerGroup
from nemo_rl.models.generation import configure_generation_config
from nemo_rl.models.generation.vllm.vllm_generation import VllmGeneration

from nemo_mixsd.config import RunConfig
from nemo_mixsd.errors import ConfigError, EngineError
from nemo_mixsd.mixing.engines.base import Sampling, SegmentRequest
from nemo_mixsd.mixing.mixer import MixerSettings
from nemo_mixsd.nemo.backend import check_gpus
from nemo_mixsd.nemo.generation_config import generation_section, vllm_section
from nemo_mixsd.nemo.mix_worker import MixJob, Outcome
from nemo_mixsd.nemo.names import WORKER_CLASS
from nemo_mixsd.nemo.registration import register
from nemo_mixsd.types import MixRequest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Start = Callable[[MixJob], Iterator[Outcome]]
"""Has one worker do a job."""
Ask = Callable[[SegmentRequest], ray.ObjectRef]
"""Has one worker decode one request; the reference is to a ``SegmentResult``."""


def start_workers(
    config: RunConfig, model_path: str, tokenizer: PreTrainedTokenizerBase, sampled: bool
) -> MixedGeneration:
    """The host's vLLM workers with a model, on the GPUs of the recipe; ``close`` gives them back.

    Args:
        config: The recipe; ``policy.generation``, ``mixing`` and ``cluster`` are read.
        model_path: The model.
        tokenizer: For the host's settings.
        sampled: Whether anything is to be sampled at a temperature above 0.

    Raises:
        BackendError: The host is not there or not supported, or there are fewer GPUs than the recipe asks.
        ConfigError: ``policy.generation`` does not fit.
    """
    register()
    generation = vllm_section(generation_section(config), sampled)
    section = generation["vllm_cfg"]
    section["max_model_len"] = section["max_model_len"] or config.mixing.max_total_tokens
    section["precision"] = section["precision"] or config.policy.precision
    generation["model_name"] = model_path
    init_ray()
    gpus, nodes = config.cluster.gpus_per_node, config.cluster.num_nodes
    check_gpus(gpus, nodes)
    generation = configure_generation_config(generation, tokenizer, is_eval=True)
    cluster = RayVirtualCluster(
        name="mixsd_generation",
        bundle_ct_per_node_list=[gpus] * nodes,
        use_gpus=True,
        num_gpus_per_node=gpus,
        max_colocated_worker_groups=1,
    )
    return MixedGeneration(cluster, generation)


class MixedGeneration(VllmGeneration):  # type: ignore[misc]
    """The host's vLLM generation with workers that also mix."""

    def __init__(self, cluster: RayVirtualCluster, config: dict[str, Any], name_prefix: str = "mixsd_vllm") -> None:
        """Start the workers.

        The host's constructor names its own worker class, so this one stands in its place; the rest is inherited.

        Args:
            cluster: GPUs for the workers.
            config: As ``vllm_section`` gives it, after the host's ``configure_generation_config``.
            name_prefix: Of the Ray actors.

        Raises:
            ConfigError: The GPUs do not divide by the tensor-parallel size.
        """
        self.cfg = config
        self._defer_model_load = False
        section = config["vllm_cfg"]
        self.tp_size, self.pp_size = section["tensor_parallel_size"], section["pipeline_parallel_size"]
        self.ep_size = section["expert_parallel_size"]
        self.model_parallel_size = self.tp_size * self.pp_size
        world = cluster.world_size()
        if world % self.model_parallel_size:
            raise ConfigError(
                f"policy.generation.vllm_cfg.tensor_parallel_size={self.tp_size}: {world} GPUs do not divide by it"
            )
        self.dp_size = world // self.model_parallel_size
        self.sharding_annotations = NamedSharding(
            layout=np.arange(world).reshape(self.dp_size, self.pp_size, self.tp_size),
            names=["data_parallel", "pipeline_parallel", "tensor_parallel"],
        )
        self.init_cluster_placement_groups(cluster, config)
        bundles = self._get_tied_worker_bundle_indices(cluster) if self.model_parallel_size > 1 else None
        self.worker_group = RayWorkerGroup(
            cluster,
            RayWorkerBuilder(WORKER_CLASS, config),
            name_prefix=name_prefix,
            bundle_indices_list=bundles,
            sharding_annotations=self.sharding_annotations,
            env_vars={str(k): str(v) for k, v in section.get("env_vars", {}).items()},
        )
        self.current_generate_dp_shard_idx = 0
        self._post_init()
        self.dp_openai_server_base_urls = self._report_dp_openai_server_base_urls()
        self.device_uuids = self._report_device_id()
        self._step_metrics_snapshot = None
        self._cluster = cluster

    def close(self) -> None:
        """End the workers and give their GPUs back."""
        self.shutdown()
        self._cluster.shutdown()

    def askers(self, sampling: Sampling, stop_ids: frozenset[int]) -> list[Ask]:
        """One for each data-parallel worker; each has its worker decode one request, and returns at once."""
        return [self._asker(worker, sampling, stop_ids) for worker in self._leaders()]

    def _asker(self, worker: int, sampling: Sampling, stop_ids: frozenset[int]) -> Ask:
        def ask(request: SegmentRequest) -> ray.ObjectRef:
            return self.worker_group.run_single_worker_single_data(
                method_name="respond", worker_idx=worker, request=request, sampling=sampling, stop_ids=stop_ids
            )

        return ask

    def _leaders(self) -> list[int]:
        return [self.worker_group.get_dp_leader_worker_idx(shard) for shard in range(self.dp_size)]

    def starters(self) -> list[Start]:
        """One for each data-parallel worker."""
        return [self._starter(worker) for worker in self._leaders()]

    def _starter(self, worker: int) -> Start:
        def start(job: MixJob) -> Iterator[Outcome]:
            stream = self.worker_group.run_single_worker_single_data(method_name="mix", worker_idx=worker, job=job)
            return (ray.get(reference) for reference in stream)

        return start


class HostMixer:
    """Stands where ``Mixer`` stands, with the rollouts on the host's workers."""

    def __init__(self, workers: Sequence[Start], job: MixJob) -> None:
        """Keep the workers.

        Args:
            workers: One starter for each data-parallel worker.
            job: Everything but the requests. ``settings.max_in_flight`` counts over all workers.
        """
        self._workers = list(workers)
        self._job = job

    @property
    def settings(self) -> MixerSettings:
        """What decides the targets."""
        return self._job.settings

    def run(self, requests: Iterable[MixRequest]) -> Iterator[Outcome]:
        """Generate one outcome an example, yielded as it is finished, in no fixed order.

        A worker that dies is reported, and what it had not finished goes to another.

        Raises:
            EngineError: The engine of a worker failed, or all workers died.
        """
        left = {request.example_id: request for request in requests}
        alive = dict(enumerate(self._workers))
        while left:
            if not alive:
                raise EngineError(f"all workers died; {len(left)} examples are left, {next(iter(left))!r} among them")
            dead: set[int] = set()
            for number, item in _stream(alive, self._shares(list(left.values()), list(alive))):
                if isinstance(item, ray.exceptions.RayActorError):
                    logger.error("worker %d died: %s; its examples go to another", number, str(item).splitlines()[0])
                    dead.add(number)
                elif isinstance(item, Exception):
                    raise item
                elif left.pop(item.example_id, None) is not None:
                    yield item
            for number in dead:
                del alive[number]
            if not dead and left:
                raise EngineError(f"the workers lost {len(left)} examples, {next(iter(left))!r} among them")

    def _shares(self, requests: list[MixRequest], workers: list[int]) -> dict[int, MixJob]:
        """Every n-th example to each of n workers, so that long ones spread."""
        settings = self._job.settings
        flying = max(1, -(-settings.max_in_flight // len(self._workers)))
        return {
            worker: replace(
                self._job,
                requests=tuple(requests[i :: len(workers)]),
                settings=replace(settings, max_in_flight=flying),
            )
            for i, worker in enumerate(workers)
            if requests[i :: len(workers)]
        }


def _stream(workers: Mapping[int, Start], jobs: Mapping[int, MixJob]) -> Iterator[tuple[int, Outcome | Exception]]:
    """Outcomes of all workers as they come; an exception ends its worker's part."""
    found: queue.SimpleQueue[tuple[int, Outcome | Exception | None]] = queue.SimpleQueue()

    def read(number: int) -> None:
        try:
            for outcome in workers[number](jobs[number]):
                found.put((number, outcome))
        except ray.exceptions.RayTaskError as error:
            found.put((number, error.cause if isinstance(error.cause, EngineError) else EngineError(str(error))))
        except Exception as error:  # judged by who reads the stream
            found.put((number, error))
        found.put((number, None))

    for number in jobs:
        threading.Thread(target=read, args=(number,), name=f"mixsd-worker-{number}", daemon=True).start()
    open_streams = len(jobs)
    while open_streams:
        number, item = found.get()
        if item is None:
            open_streams -= 1
        else:
            yield number, item
