"""The configuration of a run, checked before anything is loaded.

Our sections forbid unknown keys. NeMo-RL's own sections (``policy``, ``sft``, ``checkpointing``, ``logger``,
``cluster``, ``data``, ...) are the host's: here only the keys that the local backend reads are typed, the rest passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator

from nemo_mixsd.analysis.config import AnalysisConfig
from nemo_mixsd.corpora import CORPORA, CorpusSection
from nemo_mixsd.editing.config import MemitConfig
from nemo_mixsd.errors import ConfigError, shown
from nemo_mixsd.evals.config import EvalsConfig
from nemo_mixsd.host_sections import CheckpointingConfig, ClusterConfig, LoggerConfig, PolicyConfig, SftConfig
from nemo_mixsd.mixing.config import MixingConfig
from nemo_mixsd.recipe import load_recipe, nearest
from nemo_mixsd.section import Section
from nemo_mixsd.training.distill_config import OpsdConfig
from nemo_mixsd.types import Method, PromptStyle

HOST_SECTIONS = ("data", "distillation", "loss_fn", "teacher", "env")
"""Sections of NeMo-RL that only its backend reads; they pass unchecked."""


class PromptsConfig(Section):
    """How an example becomes a naive and an expert prompt."""

    style: Literal["auto", PromptStyle] = "auto"
    """Which default templates: ``fact``, ``solution``, or what the corpus suggests."""
    naive_template: str | None = None
    """User message of the naive prompt; placeholder ``{question}``."""
    expert_template: str | None = None
    """User message of the expert prompt; placeholders ``{question}``, ``{context}``, ``{answer}``, ``{target}``."""
    system: str | None = None
    """System message of both prompts; the chat template's own default if null."""


class CallbackConfig(Section):
    """One callback of the run."""

    name: str
    """Dotted name of a class that implements parts of ``nemo_mixsd.callbacks.Callback``."""
    required: bool = False
    """Whether an exception in it ends the run; otherwise it is logged with the callback's name."""
    kwargs: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the class."""


class RunConfig(Section):
    """A whole recipe."""

    run_dir: str
    """Where everything of the run is written."""
    method: list[Method] = Field(default_factory=lambda: [Method.SFT, Method.MIXSD], min_length=1)
    """What to train; a list trains each, a single name is a list of one. The base model is always measured too."""
    backend: Literal["auto", "local", "nemo_rl"] = "auto"
    """What trains."""
    corpus: CorpusSection
    """Where the facts come from."""
    prompts: PromptsConfig = Field(default_factory=PromptsConfig)
    """Naive and expert prompts."""
    mixing: MixingConfig = Field(default_factory=MixingConfig)
    """Target generation."""
    opsd: OpsdConfig = Field(default_factory=OpsdConfig)
    """Methods with a teacher while they train: ``opsd``, ``opsd_nll``, ``mixsd_kl``."""
    memit: MemitConfig = Field(default_factory=MemitConfig)
    """The method ``memit``."""
    evals: EvalsConfig = Field(default_factory=EvalsConfig)
    """Evaluation."""
    analysis: AnalysisConfig = Field(default_factory=AnalysisConfig)
    """Analyses."""
    callbacks: list[CallbackConfig] = Field(default_factory=list)
    """Hooks of your own."""
    policy: PolicyConfig
    """NeMo-RL's section: model, optimizer, batch sizes."""
    sft: SftConfig = Field(default_factory=SftConfig)
    """NeMo-RL's section: steps, epochs, seed."""
    checkpointing: CheckpointingConfig = Field(default_factory=CheckpointingConfig)
    """NeMo-RL's section: checkpoints."""
    logger: LoggerConfig = Field(default_factory=LoggerConfig)
    """NeMo-RL's section: loggers."""
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    """NeMo-RL's section: GPUs and nodes."""
    data: dict[str, Any] = Field(default_factory=dict)
    """NeMo-RL's section, read by its backend only."""
    distillation: dict[str, Any] = Field(default_factory=dict)
    """NeMo-RL's section, read by its backend only."""
    loss_fn: dict[str, Any] = Field(default_factory=dict)
    """NeMo-RL's section, read by its backend only."""
    teacher: dict[str, Any] = Field(default_factory=dict)
    """NeMo-RL's section, read by its backend only."""
    env: dict[str, Any] = Field(default_factory=dict)
    """NeMo-RL's section, read by its backend only."""

    @field_validator("method", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return value if isinstance(value, list) else [value]

    @field_validator("method")
    @classmethod
    def _once_each(cls, value: list[Method]) -> list[Method]:
        return list(dict.fromkeys(value))


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read and check a recipe.

    A relative path of the corpus or of a benchmark is looked for from the working directory, then beside the recipe.

    Raises:
        ConfigError: With one line a mistake: key, value, remedy.
    """
    raw = load_recipe(path, overrides)
    raw.setdefault("run_dir", f"runs/{Path(path).stem}")
    corpus = raw.get("corpus")
    if isinstance(corpus, dict) and isinstance(corpus.get("path"), str):
        corpus["path"] = str(_find(corpus["path"], Path(path).parent))
    resolve_paths(raw.get("evals"), Path(path).parent)
    return validate_config(raw, str(path))


def resolve_paths(evals: Any, beside: Path) -> None:
    """Find the paths of the raw ``evals`` section as ``corpus.path`` is found."""
    if not isinstance(evals, dict):
        return
    options = evals.get("benchmark")
    sections = [evals, evals.get("lm_eval_options"), *(options.values() if isinstance(options, dict) else ())]
    for section in sections:
        for key in ("benchmarks_path", "include_path", "path"):
            if isinstance(section, dict) and isinstance(section.get(key), str):
                section[key] = str(_find(section[key], beside))


def _find(name: str, beside: Path) -> Path:
    """``name`` as it is, or beside the recipe if it exists only there."""
    path = Path(name).expanduser()
    return beside / path if not path.is_absolute() and not path.exists() and (beside / path).exists() else path


def validate_config(raw: dict[str, Any], source: str) -> RunConfig:
    """Turn a resolved mapping into a ``RunConfig``.

    Raises:
        ConfigError: With one line a mistake.
    """
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{source}: " + describe(error, RunConfig)) from error


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """One sentence a mistake: dotted key, value, what is wrong, and the nearest known key for an unknown one."""
    lines = []
    for item in error.errors(include_url=False):
        loc = [str(part) for part in item["loc"] if not _is_union_tag(part)]
        if loc[0] == "corpus" and len(loc) > 2 and loc[1] in CORPORA:  # the branch of the corpus section, no key either
            del loc[1]
        key = ".".join(loc)
        if item["type"] == "extra_forbidden":
            lines.append(f"unknown key {key!r}{nearest(loc[-1], _known_keys(model, loc[:-1]))}")
        elif item["type"] == "missing":
            lines.append(f"{key} is missing; add it to the recipe or to the command line")
        elif item["type"] in ("union_tag_invalid", "union_tag_not_found"):
            name = item.get("ctx", {}).get("tag")
            what = " is missing" if name is None else f": no corpus {name!r}{nearest(str(name), CORPORA)}"
            lines.append(f"{key}.name{what}; choose one of {', '.join(CORPORA)}")
        else:
            message = item["msg"].removeprefix("Value error, ")
            value = "" if isinstance(item["input"], dict) else f" {shown(item['input'])}:"
            lines.append(f"{key}:{value} {message[:1].lower()}{message[1:]}")
    return "; ".join(dict.fromkeys(lines))


_UNION_TAGS = {"float", "int", "str", "dict", "list", "none", "constrained-int"}


def _is_union_tag(part: int | str) -> bool:
    """Pydantic adds the branch of a union to the location; it is no key of the recipe."""
    return isinstance(part, str) and (part in _UNION_TAGS or "[" in part)


def _known_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """Field names of the section at ``path``, looking through unions and optional sections."""
    models: list[type[BaseModel]] = [model]
    for part in path:
        fields = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        models = [m for annotation in fields for m in _models_in(annotation)] or models
    return sorted({name for m in models for name in m.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for argument in get_args(annotation) for m in _models_in(argument)]
