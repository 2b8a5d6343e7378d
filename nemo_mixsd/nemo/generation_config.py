"""The host's ``policy.generation`` section as mixing needs it; imports neither the host nor vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nemo_mixsd.config import RunConfig
from nemo_mixsd.errors import ConfigError
from nemo_mixsd.mixing.engines.vllm_options import NOISE

VLLM: dict[str, Any] = {
    "tensor_parallel_size": 1,
    "pipeline_parallel_size": 1,
    "expert_parallel_size": 1,
    "gpu_memory_utilization": 0.9,
    "kv_cache_dtype": "auto",
    "enforce_eager": False,
    "skip_tokenizer_init": False,
    "max_model_len": None,
    "precision": None,
}
"""Defaults of ``policy.generation.vllm_cfg``; the last two come from the recipe's other sections."""

GENERATION: dict[str, Any] = {
    "backend": "vllm",
    "max_new_tokens": 1,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": None,
    "val_temperature": 1.0,
    "val_top_p": 1.0,
    "val_top_k": None,
    "stop_token_ids": None,
    "stop_strings": None,
    "colocated": {"enabled": True, "resources": {"gpus_per_node": None, "num_nodes": None}},
}
"""Defaults of ``policy.generation``: what the host asks for. Each segment brings its own sampling parameters."""


def generation_section(config: RunConfig) -> dict[str, Any]:
    """``policy.generation``; without one, every GPU of ``cluster`` gets an engine of its own."""
    return config.policy.model_dump().get("generation") or {"vllm_cfg": {"async_engine": True}}


def vllm_section(generation: Mapping[str, Any], sampled: bool) -> dict[str, Any]:
    """``policy.generation`` as mixing needs it: base weights from disk, and the noise processor where it samples.

    Raises:
        ConfigError: The asynchronous engine is off, or ``vllm_kwargs`` has a key that the host passes itself.
    """
    settings = dict(generation.get("vllm_cfg") or {})
    if not settings.get("async_engine"):
        raise ConfigError(
            "policy.generation.vllm_cfg.async_engine is off, but mixing needs the asynchronous engine; set it to true"
        )
    kwargs = dict(generation.get("vllm_kwargs") or {})
    for key in ("worker_extension_cls", "seed"):
        if key in kwargs:
            raise ConfigError(
                f"policy.generation.vllm_kwargs.{key} is set, but NeMo-RL passes it to vLLM itself and would fail with "
                "a duplicate keyword; remove it"
            )
    if sampled:
        kwargs["logits_processors"] = [*kwargs.get("logits_processors", []), NOISE]
    settings = {**VLLM, **settings}
    settings["load_format"] = "auto"  # the host's default is dummy weights that training sends over
    settings["enable_prefix_caching"] = True
    return {**GENERATION, **generation, "vllm_cfg": settings, "vllm_kwargs": kwargs}
