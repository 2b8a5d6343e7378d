"""Options of the ``vllm`` engine, and vLLM's own arguments made from them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Literal

from nemo_mixsd.errors import ConfigError
from nemo_mixsd.mixing.engines.base import Sampling

NOISE = "nemo_mixsd.mixing.engines.vllm_noise:NoiseProcessor"
"""The logits processor that samples, by the name under which vLLM's processes load it."""


@dataclass(frozen=True, slots=True)
class VLLMOptions:
    """How vLLM is run. None of it changes a token but ``dtype``, in bfloat16 within near ties (see docs/engines.md).

    Attributes:
        dtype: Dtype of weights and cache.
        max_model_len: Longest prompt and target together; None is the model's own limit.
        max_in_flight: Examples at the same time; each has two sessions.
        mode: ``local`` steps an ``LLMEngine`` in this process, ``async`` runs ``AsyncLLM``.
        tensor_parallel: GPUs that share each layer.
        data_parallel: Engines, each in a process of its own with its own GPUs; examples are spread over them.
        gpu_memory_utilization: Part of each GPU's memory that vLLM takes.
        kv_cache_gib: Key-value cache on a CPU, in GiB; None is vLLM's default.
        block_size: Tokens a block of the prefix cache; None is 32 on a CPU, else vLLM's default.
        enforce_eager: No compilation and no CUDA graphs: a faster start, slower steps.
        sessions: Keep each conditional's cache between segments. False relies on the prefix cache (for comparison).
        extra: Further arguments of vLLM's ``EngineArgs``, as they are.
    """

    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    max_model_len: int | None = None
    max_in_flight: int = 64
    mode: Literal["local", "async"] = "local"
    tensor_parallel: int = 1
    data_parallel: int = 1
    gpu_memory_utilization: float = 0.9
    kv_cache_gib: int | None = None
    block_size: int | None = None
    enforce_eager: bool = False
    sessions: bool = True
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def slots(self) -> int:
        """Requests that vLLM holds at the same time: a naive and an expert session for each example."""
        return 2 * self.max_in_flight


def engine_arguments(path: str, sampling: Sampling, options: VLLMOptions, asynchronous: bool) -> dict[str, Any]:
    """Arguments of ``EngineArgs`` or ``AsyncEngineArgs``.

    Raises:
        ConfigError: ``options.extra`` sets what another option decides.
    """
    from vllm.platforms import current_platform

    cpu = current_platform.is_cpu()
    if cpu:
        _prepare_cpu(options)
    arguments: dict[str, Any] = {
        "model": path,
        "dtype": options.dtype,
        "seed": sampling.seed,
        "max_num_seqs": options.slots,
        "max_model_len": options.max_model_len,
        "tensor_parallel_size": options.tensor_parallel,
        "gpu_memory_utilization": options.gpu_memory_utilization,
        "enable_prefix_caching": True,
        "enforce_eager": options.enforce_eager,
        "disable_log_stats": True,
        "generation_config": "vllm",  # no penalties or temperatures from the model's directory
    }
    if not asynchronous:
        # A segment's end is known only when its last token is: scheduling a step ahead would leave a gap after each.
        arguments["async_scheduling"] = False
    block_size = options.block_size or (32 if cpu else None)  # vLLM's 128 on a CPU is longer than most prompts
    if block_size is not None:
        arguments["block_size"] = block_size
    if sampling.temperature > 0:
        arguments["logits_processors"] = [NOISE]
    clash = sorted(set(options.extra) & set(arguments) - {"seed", "async_scheduling"})
    if clash:
        raise ConfigError(f"mixing.vllm.extra sets {clash[0]!r}, which another key of the recipe decides; remove it")
    return {**arguments, **options.extra}


def _prepare_cpu(options: VLLMOptions) -> None:
    """Environment of a CPU build; what the user has set stands."""
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # binding fails in containers, and blocks sharing
    # Without it vLLM reduces the whole process to one thread.
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    if options.kv_cache_gib is not None:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(options.kv_cache_gib))
