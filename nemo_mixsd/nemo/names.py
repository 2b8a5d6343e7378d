"""The names under which NeMo-RL knows our parts. Recipes use them; nothing here imports the host."""

from __future__ import annotations

from typing import Final

PROCESSOR: Final = "mixsd_processor"
"""``data.*.processor`` for training on targets."""

PROMPT_PROCESSOR: Final = "mixsd_prompt_processor"
"""``data.*.processor`` for prompts that a policy answers (validation by generation, distillation)."""

DATASET: Final = "mixsd_targets"
"""``data.*.dataset_name``; the dotted name of the class works too, and needs no registration."""

DATASET_CLASS: Final = "nemo_mixsd.nemo.dataset.TargetsDataset"
"""The dotted name of the dataset class."""

ENVIRONMENT: Final = "mixsd"
"""``data.*.env_name`` and the key below ``env``."""

ENVIRONMENT_CLASS: Final = "nemo_mixsd.nemo.environment.MixSDEnvironment"
"""The dotted name of the environment's actor class."""

WORKER_CLASS: Final = "nemo_mixsd.nemo.vllm_worker.MixingWorker"
"""The dotted name of the vLLM worker class that mixes."""
