"""Makes our parts known to NeMo-RL, through its own registries."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from nemo_mixsd.errors import BackendError
from nemo_mixsd.nemo import names
from nemo_mixsd.nemo.compat import require_nemo_rl

logger = logging.getLogger(__name__)

_HOST_WORKER = "nemo_rl.models.generation.vllm.vllm_worker_async.VllmAsyncGenerationWorker"


def register() -> None:
    """Register processors, dataset and environment. Calling it again changes nothing.

    Raises:
        BackendError: NeMo-RL is not there or not supported, or one of our names is taken by something else.
    """
    require_nemo_rl()
    from nemo_rl.data.datasets.response_datasets import DATASET_REGISTRY
    from nemo_rl.data.processors import PROCESSOR_REGISTRY, register_processor
    from nemo_rl.distributed.ray_actor_environment_registry import ACTOR_ENVIRONMENT_REGISTRY
    from nemo_rl.distributed.virtual_cluster import PY_EXECUTABLES
    from nemo_rl.environments.utils import ENV_REGISTRY, register_env

    from nemo_mixsd.nemo.dataset import TargetsDataset
    from nemo_mixsd.nemo.processors import mixsd_processor, mixsd_prompt_processor

    for name, processor in ((names.PROCESSOR, mixsd_processor), (names.PROMPT_PROCESSOR, mixsd_prompt_processor)):
        if _is_free(PROCESSOR_REGISTRY, name, processor, "processor"):
            register_processor(name, processor)
    if _is_free(DATASET_REGISTRY, names.DATASET, TargetsDataset, "dataset"):
        DATASET_REGISTRY[names.DATASET] = TargetsDataset
    entry = {"actor_class_fqn": names.ENVIRONMENT_CLASS}
    if _is_free(ENV_REGISTRY, names.ENVIRONMENT, entry, "environment"):
        register_env(names.ENVIRONMENT, names.ENVIRONMENT_CLASS)
    # register_env fills only the registry of names; create_env also asks which Python runs the actor.
    actors = {
        names.ENVIRONMENT_CLASS: PY_EXECUTABLES.SYSTEM,
        names.WORKER_CLASS: ACTOR_ENVIRONMENT_REGISTRY[_HOST_WORKER],  # with the host's vLLM
    }
    for name, python in actors.items():
        if _is_free(ACTOR_ENVIRONMENT_REGISTRY, name, python, "actor environment"):
            ACTOR_ENVIRONMENT_REGISTRY[name] = python
    logger.debug("registered with NeMo-RL")


def _is_free(registry: MutableMapping[str, Any], name: str, ours: Any, kind: str) -> bool:
    """True if ``name`` is to be filled, False if it holds ``ours`` already."""
    if name not in registry:
        return True
    if registry[name] == ours:
        return False
    raise BackendError(
        f"NeMo-RL already has a {kind} named {name!r} ({registry[name]!r}), which is not ours: another plugin has "
        "taken the name; load only one of them"
    )
