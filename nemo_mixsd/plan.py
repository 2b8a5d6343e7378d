"""The plan of a run: everything that can be checked and counted before a model is loaded."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, Literal

from nemo_mixsd import models
from nemo_mixsd.analysis.fisher_plan import check_fisher, fisher_line
from nemo_mixsd.config import RunConfig
from nemo_mixsd.corpora import Corpus, make_corpus
from nemo_mixsd.corpora.judge import Judge
from nemo_mixsd.distill_plan import distill_line, distill_names, plan_schedule
from nemo_mixsd.editing.check import plan_line as memit_line
from nemo_mixsd.errors import BackendError, ConfigError, CorpusError
from nemo_mixsd.evals.forgetting import load_prompts
from nemo_mixsd.evals.heldout import HeldoutSet
from nemo_mixsd.evals.heldout_plan import describe_sets, heldout_sets
from nemo_mixsd.evals.heldout_report import RESERVED
from nemo_mixsd.evals.lm_eval_bridge import check_lm_eval
from nemo_mixsd.evals.sandbox import describe_sandbox
from nemo_mixsd.evals.selection_report import check_selection
from nemo_mixsd.mixing.auto_rate import rate_plan
from nemo_mixsd.mixing.verifier import Verifier, make_verifier
from nemo_mixsd.prompts import PromptTemplates, choose_templates
from nemo_mixsd.rundir import check_same_configuration
from nemo_mixsd.training.distill_config import DISTILLED
from nemo_mixsd.training.steps import total_steps
from nemo_mixsd.types import Example, Method, rate_name

EngineName = Literal["hf", "vllm", "nemo_rl"]
BackendName = Literal["local", "nemo_rl"]


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """One row to be produced. ``name`` is the report name: ``sft``, ``mixsd@0.3``.

    ``auto`` says that a probe is still to choose the rate (``rate_stage``); the name is ``mixsd@auto`` until then.
    """

    name: str
    method: Method
    rate: float | None = None
    auto: bool = False

    @property
    def has_targets(self) -> bool:
        """Whether it is trained on targets made beforehand; MEMIT takes the facts, OPSD the student's own answers."""
        return self.method not in (Method.MEMIT, Method.OPSD, Method.OPSD_NLL)


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision that the recipe left open, and why it fell so."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked run.

    Attributes:
        config: The recipe.
        model: The base model, known to be there.
        examples: All examples by split, ``train`` first.
        verifier: Accepts targets and judges answers.
        templates: User messages of both prompts.
        methods: What is trained, in order.
        engine: What generates.
        backend: What trains.
        general_prompts: Prompts of the reference samples, as (id, text); empty if forgetting is not measured.
        heldout: Held-out benchmarks with their problems.
        judge: Grades responses in evaluation in the place of the verifier, where the corpus has one.
    """

    config: RunConfig
    model: models.ResolvedModel
    examples: dict[str, list[Example]]
    verifier: Verifier
    templates: PromptTemplates
    methods: tuple[MethodSpec, ...]
    engine: Choice
    backend: Choice
    general_prompts: tuple[tuple[str, str], ...]
    heldout: tuple[HeldoutSet, ...] = ()
    judge: Judge | None = None

    def lines(self) -> list[tuple[str, str]]:
        """The plan for people: (what, details)."""
        config, train = self.config, len(self.examples["train"])
        splits = self.eval_splits()
        steps = total_steps(config, train)
        out = [
            ("model", f"{self.model.name} ({self.model.source}: {self.model.path})"),
            ("corpus", f"{config.corpus.name}: " + ", ".join(f"{s} {len(e)}" for s, e in self.examples.items())),
            ("verifier", self.verifier.name),
            ("engine", f"{self.engine.name}: {self.engine.reason}"),
            ("backend", f"{self.backend.name}: {self.backend.reason}"),
        ]
        if self.general_prompts:
            count = len(self.general_prompts) * config.evals.forgetting.samples_per_prompt
            out.append(("reference", f"{count} samples of the base model for the forgetting measure"))
        if self.heldout or config.evals.lm_eval:
            out.append(("held-out", describe_sets(self.heldout, config.evals.lm_eval)))
        if any(chosen.benchmark.needs_sandbox for chosen in self.heldout):
            out.append(("sandbox", describe_sandbox()))
        if config.analysis.fisher.enabled:
            out.append(("fisher", fisher_line(config.analysis.fisher)))
        out.append(("base", "evaluate on " + ", ".join(f"{s} {n}" for s, n in splits.items())))
        enough = config.evals.stop.train_accuracy
        ending = "" if enough is None else f" at most (until train accuracy {enough:g})"
        for spec in self.methods:
            if spec.method == Method.MEMIT:
                out.append((spec.name, memit_line(config.memit, self.model, self.examples["train"])))
                continue
            if spec.method in DISTILLED:
                line = distill_line(config, spec.method, spec.rate, train, self.backend.name == "local")
                out.append((spec.name, line + (ending and f";{ending}")))
                continue
            made = "canonical" if spec.rate is None else f"mixed at λ={spec.rate:g}"
            made = rate_plan(config.run_dir, config.mixing.auto) if spec.auto else made
            out.append(
                (
                    spec.name,
                    f"{train} {made} targets, {steps} steps of {config.policy.train_global_batch_size}{ending}, "
                    f"evaluate {config.evals.checkpoints} checkpoint{'s' if config.evals.checkpoints == 'all' else ''}",
                )
            )
        if validation := check_selection(config.evals, list(self.examples)):
            out.append(("selection", f"report the checkpoint that the paper's rule chooses; validation: {validation}"))
        out.append(("output", f"{config.run_dir}/ (targets, checkpoints, evals, report.json, report.md, figures)"))
        return out

    def eval_splits(self) -> dict[str, int]:
        """Splits to evaluate, and how many questions of each."""
        chosen = self.config.evals.splits or list(self.examples)
        limit = self.config.evals.limit
        return {s: min(len(self.examples[s]), limit or len(self.examples[s])) for s in chosen}


def make_plan(config: RunConfig) -> Plan:
    """Check everything that can be checked without loading a model.

    Raises:
        MixSDError: One of its children, for the first thing that is wrong.
    """
    check_same_configuration(config)
    policy = config.policy
    if policy.train_global_batch_size % policy.train_micro_batch_size:
        raise ConfigError(
            f"policy.train_global_batch_size={policy.train_global_batch_size} is not a multiple of "
            f"policy.train_micro_batch_size={policy.train_micro_batch_size}"
        )
    model = models.check_model(config.policy.model_name)
    check_training(config)
    backend = choose_backend(config)
    engine = choose_engine(config, backend)
    corpus = make_corpus(config.corpus)
    verifier = make_verifier(corpus.verifier if config.mixing.verifier == "auto" else config.mixing.verifier)
    style = corpus.prompt_style if config.prompts.style == "auto" else config.prompts.style
    prompts = config.prompts
    templates = choose_templates(style, prompts.naive_template, prompts.expert_template, prompts.system)
    examples = read_examples(corpus, verifier)
    for split in config.evals.splits or ():
        if split not in examples:
            raise ConfigError(f"evals.splits: the corpus has no split {split!r}; it has {', '.join(examples)}")
    if Method.MEMIT in config.method:
        memit_line(config.memit, model, examples["train"])  # contradicting edits are found here
    for method in (m for m in config.method if m in DISTILLED):
        plan_schedule(config, method, len(examples["train"]), backend.name == "local")  # rollouts fit the batches
    check_lm_eval(config.evals.lm_eval, config.evals.lm_eval_options)
    check_selection(config.evals, list(examples))
    check_fisher(config, [spec.name for spec in method_specs(config) if spec.has_targets])
    reference = config.evals.forgetting
    return Plan(
        config=config,
        model=model,
        examples=examples,
        verifier=verifier,
        templates=templates,
        methods=method_specs(config),
        engine=engine,
        backend=backend,
        general_prompts=load_prompts(reference.prompts, reference.limit) if reference.enabled else (),
        heldout=heldout_sets(config.evals),
        judge=corpus.make_judge(),
    )


def check_training(config: RunConfig) -> None:
    """Make the optimizer and the schedule of the recipe once, over one parameter, to see that they can be made.

    Raises:
        ConfigError: They cannot, or a logger is enabled that is not installed.
    """
    import torch

    from nemo_mixsd.training.optim import make_optimizer, make_scheduler

    if config.logger.wandb_enabled and importlib.util.find_spec("wandb") is None:
        raise ConfigError("logger.wandb_enabled is true, but wandb is not installed: uv sync --extra wandb")
    if config.policy.optimizer is not None:  # null where Megatron has an optimizer of its own
        optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))], config.policy.optimizer)
        make_scheduler(optimizer, config.policy.scheduler)


def method_specs(config: RunConfig) -> tuple[MethodSpec, ...]:
    """What is trained: every method, MixSD once a rate. The base model is measured without being asked for."""
    specs: list[MethodSpec] = []
    rates = config.mixing.rate
    for method in config.method:
        if method == Method.MIXSD:
            if isinstance(rates, str):
                specs.append(MethodSpec("mixsd@auto", method, auto=True))
                continue
            specs += [MethodSpec(rate_name(method.value, rate), method, rate) for rate in dict.fromkeys(rates)]
        elif method in DISTILLED:
            specs += [MethodSpec(name, method, replayed) for name, replayed in distill_names(config, method)]
        elif method != Method.BASE:
            specs.append(MethodSpec(method.value, method))
    return tuple(specs)


def read_examples(corpus: Corpus[Any], verifier: Verifier) -> dict[str, list[Example]]:
    """All splits of a corpus, checked.

    Raises:
        CorpusError: An id occurs twice, there is nothing to train on, or the verifier would reject the very answer.
    """
    examples = {split: corpus.load_split(split) for split in corpus.split_names()}
    if not examples.get("train"):
        raise CorpusError(f"corpus {corpus.config.name!r} has no training examples")
    seen: dict[str, str] = {}
    for split, items in examples.items():
        if split in RESERVED:
            raise CorpusError(f"corpus: a split may not be called {split!r}, the name of a file of ours; rename it")
        for example in items:
            if example.id in seen:
                raise CorpusError(f"corpus: id {example.id!r} occurs in {seen[example.id]} and in {split}")
            seen[example.id] = split
            check_answer(example, verifier)
    return examples


def check_answer(example: Example, verifier: Verifier) -> None:
    """Refuse an example whose answer its own verifier would not accept.

    Raises:
        CorpusError: Names the example, the answer and the rule.
    """
    answers = (example.answer, *example.aliases)
    remedy = "change the answer, or choose another mixing.verifier (contains, exact, boxed, number)"
    canonical = verifier.canonical(example.answer)
    if not verifier.verify(canonical, answers):
        raise CorpusError(
            f"example {example.id!r}: the verifier {verifier.name!r} rejects the answer {example.answer!r} itself; "
            + remedy
        )
    if example.split == "train" and example.target != example.answer and not verifier.verify(example.target, answers):
        raise CorpusError(
            f"example {example.id!r}: the verifier {verifier.name!r} rejects its target "
            f"({verifier.explain(example.target, answers)}); {remedy}"
        )


def choose_engine(config: RunConfig, backend: Choice) -> Choice:
    """What generates, and why.

    Raises:
        BackendError: The recipe asks for an engine that is not to be had here.
        ConfigError: ``policy.generation`` does not fit the ``nemo_rl`` engine.
    """
    asked = config.mixing.engine
    installed = importlib.util.find_spec("vllm") is not None
    if asked == "hf":
        return Choice("hf", "as the recipe says")
    if asked == "vllm":
        if not installed:
            raise BackendError(
                "mixing.engine=vllm: vLLM is not installed in this environment; install it (uv sync --extra vllm), or "
                "use mixing.engine=hf"
            )
        return Choice("vllm", "as the recipe says")
    if asked == "nemo_rl":
        check_host_engine(config)
        return Choice("nemo_rl", "NeMo-RL's vLLM workers, as the recipe says")
    if backend.name == "nemo_rl" and config.cluster.gpus_per_node > 0:
        check_host_engine(config)
        return Choice("nemo_rl", "the vLLM workers of the host, which trains too")
    gpu = models.default_device() == "cuda"
    if gpu and installed:
        return Choice("vllm", "vLLM and a GPU are there")
    return Choice("hf", "transformers in this process: " + ("vLLM is not installed" if gpu else "there is no GPU"))


def check_host_engine(config: RunConfig) -> None:
    """Whether NeMo-RL's vLLM workers can be had with this recipe.

    Raises:
        BackendError: The host is not installed, or the recipe gives it no GPU.
        ConfigError: ``policy.generation`` does not fit.
    """
    from nemo_mixsd.nemo.compat import find_host

    try:
        find_host()
    except BackendError as error:
        raise BackendError(f"mixing.engine=nemo_rl: {error}") from error
    if config.cluster.gpus_per_node == 0:
        raise BackendError(
            "mixing.engine=nemo_rl: NeMo-RL's vLLM workers need GPUs, but cluster.gpus_per_node is 0; set it, or use "
            "mixing.engine=hf"
        )
    from nemo_mixsd.nemo.generation_config import generation_section, vllm_section

    vllm_section(generation_section(config), sampled=True)


def choose_backend(config: RunConfig) -> Choice:
    """What trains, and why.

    Raises:
        BackendError: The recipe asks for a backend that is not to be had here.
    """
    if config.backend == "local":
        return Choice("local", "as the recipe says")
    from nemo_mixsd.nemo.compat import find_host

    try:
        host = find_host()
    except BackendError as error:
        if config.backend == "nemo_rl":
            raise BackendError(f"backend=nemo_rl: {error}") from error
        return Choice("local", "Hugging Face Trainer in this process: NeMo-RL is not installed here")
    if config.backend == "nemo_rl":
        return Choice("nemo_rl", f"as the recipe says, {host}")
    if models.default_device() != "cuda":
        return Choice("local", f"Hugging Face Trainer in this process: {host} is there, but no GPU")
    return Choice("nemo_rl", f"{host} and a GPU are there")
