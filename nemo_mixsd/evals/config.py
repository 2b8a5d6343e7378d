"""The ``evals`` section of a recipe: what is measured on a checkpoint."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from nemo_mixsd.evals.benchmarks import BENCHMARKS
from nemo_mixsd.evals.sandbox import SandboxConfig
from nemo_mixsd.evals.taxonomy import TaxonomyConfig
from nemo_mixsd.section import Section


class ForgettingConfig(Section):
    """How forgetting (Eq. 2) is measured: on samples of the base model itself."""

    enabled: bool = True
    """Whether it is measured at all."""
    prompts: str | None = None
    """JSONL with a ``prompt`` a line; null is the set of general prompts in the package."""
    limit: int | None = Field(None, ge=1)
    """Use only the first prompts."""
    samples_per_prompt: int = Field(1, ge=1)
    """Base-model samples for each prompt."""
    max_new_tokens: int = Field(64, ge=1)
    """Length of a sample."""
    temperature: float = Field(1.0, gt=0)
    """1.0 samples the base model's own distribution, as Eq. 1 asks."""
    seed: int = 0
    """Seed of the samples."""


class StopConfig(Section):
    """Ends a training early, when the facts are known. Not on a cluster of NeMo-RL."""

    train_accuracy: float | None = Field(None, gt=0, le=1)
    """Greedy accuracy on the training questions that is enough; null trains to the last step. Questions without a
    target (discarded when mixing) are left out: they are not taught, and a training would go on in vain."""
    period: int = Field(10, ge=1)
    """Optimizer steps between two looks."""


class BenchmarkOptions(Section):
    """How one benchmark is run; null leaves what the benchmark itself says."""

    path: str | None = None
    """A file in the published schema, or a folder that holds one; null reads ``evals.benchmarks_path`` or the hub."""
    limit: int | None = Field(None, ge=1)
    """Only so many problems, chosen by ``seed``; null is ``evals.benchmarks_limit``."""
    seed: int = 0
    """Chooses the subset, and the samples where there is a temperature."""
    samples: int | None = Field(None, ge=1)
    """Responses a problem; more than one is avg@n and needs a temperature."""
    temperature: float | None = Field(None, ge=0)
    """0 is greedy."""
    top_k: int | None = Field(None, ge=1)
    """Sample among the k likeliest tokens only."""
    max_new_tokens: int | None = Field(None, ge=1)
    """Longest response."""


class LmEvalConfig(Section):
    """How EleutherAI's harness is run, for the tasks in ``evals.lm_eval``."""

    include_path: str | None = None
    """A folder with task YAMLs of your own."""
    limit: int | None = Field(None, ge=1)
    """Only the first documents of each task."""
    num_fewshot: int | None = Field(None, ge=0)
    """Examples in the prompt; null is what the task says."""
    chat_template: bool = False
    """Put the prompt through the chat template."""
    batch_size: int = Field(8, ge=1)
    """Requests at the same time."""


class EvalsConfig(Section):
    """What is measured on a checkpoint."""

    splits: list[str] | None = None
    """Splits of the corpus to answer greedily; null is all it has."""
    limit: int | None = Field(None, ge=1)
    """Evaluate only the first examples of each split; shown as such in the report."""
    max_new_tokens: int = Field(64, ge=1)
    """Longest response."""
    batch_size: int = Field(32, ge=1)
    """Responses generated at the same time; does not change them."""
    checkpoints: Literal["last", "all"] = "last"
    """Evaluate the last checkpoint of each method or every one."""
    select: Literal["last", "paper"] = "last"
    """Which evaluated checkpoint a row of the report is about: the last one, or the one that the paper's rule chooses
    (Appendix D); that needs ``checkpoints: all``."""
    select_validation: str | None = None
    """What the rule takes for validation: a split or a held-out benchmark; null is ``paraphrase`` or the first split
    but ``train``."""
    stop: StopConfig = Field(default_factory=StopConfig)
    """When to end a training early."""
    forgetting: ForgettingConfig = Field(default_factory=ForgettingConfig)
    """Forgetting as the paper defines it."""
    benchmarks: list[str] = Field(default_factory=list)
    """Held-out benchmarks: aime2024, math500, gsm8k, humaneval, mmlu, ifeval."""
    benchmarks_path: str | None = None
    """A folder with the data of the benchmarks; null reads the hub."""
    benchmarks_limit: int | None = Field(None, ge=1)
    """Only so many problems of each benchmark, for a quick look; shown as such in the report."""
    benchmark: dict[str, BenchmarkOptions] = Field(default_factory=dict)
    """Options of single benchmarks, by name."""
    lm_eval: list[str] = Field(default_factory=list)
    """Tasks of EleutherAI's harness to run too; needs the extra ``lm-eval``."""
    lm_eval_options: LmEvalConfig = Field(default_factory=LmEvalConfig)
    """How they are run."""
    sandbox: SandboxConfig = Field(default_factory=SandboxConfig)
    """Whether and within which limits code that a model wrote is run."""
    taxonomy: TaxonomyConfig = Field(default_factory=TaxonomyConfig)
    """How wrong responses are sorted."""

    @field_validator("benchmarks", "benchmark")
    @classmethod
    def _benchmarks_exist(cls, value: Any) -> Any:
        for name in value:
            if name not in BENCHMARKS:
                raise ValueError(f"no benchmark {name!r}; choose from {', '.join(BENCHMARKS)}, or use evals.lm_eval")
        return list(dict.fromkeys(value)) if isinstance(value, list) else value

    @field_validator("select")
    @classmethod
    def _selection_has_a_choice(cls, value: str, info: ValidationInfo) -> str:
        if value == "paper" and info.data.get("checkpoints") == "last":
            raise ValueError("the paper's rule chooses among all checkpoints; set evals.checkpoints=all too")
        return value

    def options(self, benchmark: str) -> BenchmarkOptions:
        """The options of one benchmark."""
        return self.benchmark.get(benchmark, BenchmarkOptions())
