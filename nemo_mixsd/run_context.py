"""What every stage of a run shares: tokenizer and prompts, and one model or engine at a time."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from nemo_mixsd import models
from nemo_mixsd.callbacks import CallbackRunner
from nemo_mixsd.evals.heldout import longest_request
from nemo_mixsd.mixing.engines.base import Engine, Sampling
from nemo_mixsd.mixing.mixer import Mixer, MixerSettings, Rollouts
from nemo_mixsd.plan import Plan
from nemo_mixsd.prompts import PromptRenderer
from nemo_mixsd.rundir import RunDirectory
from nemo_mixsd.types import MixRequest

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from nemo_mixsd.training.teacher import TeacherPrompt

logger = logging.getLogger(__name__)


class RunContext:
    """A checked run, its directory, and what is loaded for it."""

    def __init__(self, plan: Plan, directory: RunDirectory, callbacks: CallbackRunner) -> None:
        self.plan = plan
        self.config = plan.config
        self.directory = directory
        self.callbacks = callbacks
        self._loaded: tuple[str, PreTrainedModel] | None = None
        self._running: tuple[object, Engine] | None = None
        self.model_path = models.resolve_model(plan.model.name).path

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of the recipe, with a chat template."""
        settings = self.config.policy.tokenizer
        return models.load_tokenizer(settings.name or self.model_path, settings.chat_template)

    @cached_property
    def renderer(self) -> PromptRenderer:
        """Makes prompts."""
        return PromptRenderer(self.tokenizer, self.plan.templates, self.config.policy.tokenizer.chat_template_kwargs)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end a response."""
        return models.stop_token_ids(self.tokenizer, self.model_path)

    @cached_property
    def requests(self) -> list[MixRequest]:
        """Both prompts of every training example, as token ids."""
        return list(self.renderer.requests(self.plan.examples["train"], self.max_total_tokens))

    @cached_property
    def teacher_prompts(self) -> list[TeacherPrompt]:
        """Both prompts of every training example, as a distillation shows them."""
        from nemo_mixsd.training.distill_source import longest_sequence
        from nemo_mixsd.training.teacher import teacher_prompts

        limit = longest_sequence(self.config, self.model_path)
        return teacher_prompts(self.plan.examples["train"], self.renderer, self.config.opsd, limit)

    @cached_property
    def longest_heldout(self) -> int:
        """Longest prompt and response together of the held-out benchmarks, in tokens."""
        return longest_request(self.plan.heldout, self.renderer, models.context_length(self.model_path))

    @cached_property
    def max_total_tokens(self) -> int:
        """Longest prompt and target together: ``mixing.max_total_tokens``, or the model's context if that is less."""
        limit = self.config.mixing.max_total_tokens
        context = models.context_length(self.model_path)
        if context is not None and context < limit:
            logger.info("mixing.max_total_tokens is %d, the model's context %d: that is the limit", limit, context)
            return context
        return limit

    @cached_property
    def precision(self) -> models.Precision:
        """Dtype of generating and scoring models."""
        chosen = self.config.mixing.precision
        if chosen != "auto":
            return chosen
        return "float32" if models.default_device() == "cpu" else self.config.policy.precision

    def model(self, path: str) -> PreTrainedModel:
        """A model in this process, for scoring and for the ``hf`` engine; the last one asked for is kept."""
        if self._running is not None or self._loaded is None or self._loaded[0] != path:
            self.unload()
            self._loaded = (path, models.load_model(path, self.precision))
        return self._loaded[1]

    def unload(self) -> None:
        """Drop the model or the engine that is kept, and give its memory back."""
        import torch

        self._loaded = None
        if self._running is not None:
            self._running[1].close()
            self._running = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @contextmanager
    def engine(self, path: str, sampling: Sampling, in_flight: int) -> Iterator[Engine]:
        """An engine over a model.

        Args:
            path: The model.
            sampling: How tokens are chosen.
            in_flight: Examples at the same time, each with up to two streams.
        """
        if self.plan.engine.name == "hf":
            from nemo_mixsd.mixing.engines.hf import HFEngine

            engine: Engine = HFEngine(self.model(path), self.stop_ids, sampling, 2 * in_flight)
            try:
                yield engine
            finally:
                engine.close()
            return
        wanted = (path, sampling)
        if self._running is None or self._running[0] != wanted:
            self.unload()
            most = max(in_flight, self.config.mixing.max_in_flight, self.config.evals.batch_size)
            self._running = (wanted, self._start_engine(path, sampling, most))
        try:
            yield self._running[1]
        except BaseException:
            self.unload()  # requests in flight are of no use to whoever asks next
            raise

    def _start_engine(self, path: str, sampling: Sampling, in_flight: int) -> Engine:
        """An engine that is slow to start; it is kept until another one or a model is needed."""
        if self.plan.engine.name == "nemo_rl":
            from nemo_mixsd.nemo.host_engine import HostEngine

            return HostEngine.start(self.config, path, self.tokenizer, self.stop_ids, sampling)
        from nemo_mixsd.mixing.engines.vllm import make_vllm_engine
        from nemo_mixsd.mixing.engines.vllm_options import VLLMOptions

        options = VLLMOptions(
            dtype=self.precision,
            max_model_len=max(self.max_total_tokens, self.longest_heldout),
            max_in_flight=in_flight,
            **self.config.mixing.vllm.model_dump(),
        )
        return make_vllm_engine(path, self.stop_ids, sampling, options)

    def mixer_settings(self, name: str, rate: float) -> MixerSettings:
        """What decides the targets of one rate."""
        mixing = self.config.mixing
        return MixerSettings(
            name=name,
            rate=rate,
            seed=mixing.seed,
            max_retries=mixing.max_retries,
            max_new_tokens=mixing.max_new_tokens,
            max_total_tokens=self.max_total_tokens,
            accept_truncated=mixing.accept_truncated,
            deterministic=mixing.temperature == 0,
            max_in_flight=mixing.max_in_flight,
        )

    def mixer(self, engine: Engine, settings: MixerSettings) -> Rollouts:
        """Mixes in this process, or where the engine is if that is on NeMo-RL's workers."""
        if self.plan.engine.name == "nemo_rl":
            from nemo_mixsd.nemo.host_engine import HostEngine

            assert isinstance(engine, HostEngine)
            return engine.mixer(settings, self.plan.verifier.name)
        return Mixer(engine, self.plan.verifier, self.renderer.decode, settings)
