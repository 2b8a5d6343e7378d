"""One run from facts to report: corpus, reference samples, targets, training, evaluation, report.

Every stage writes its result under the run directory and is skipped when that is complete; one that was cut off goes
on from its journal or its newest checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_mixsd import models
from nemo_mixsd.analysis.fisher_stage import displacement_callback
from nemo_mixsd.analysis.nll import score_targets
from nemo_mixsd.analysis.tokens import keep_pieces
from nemo_mixsd.callbacks import CallbackRunner
from nemo_mixsd.distill_stage import check_distillation, share_targets, train_distillation
from nemo_mixsd.editing.check import check_text
from nemo_mixsd.errors import RunDirectoryError
from nemo_mixsd.evals.forgetting import ReferenceSample, ReferenceSet, reference_nll, sample_reference
from nemo_mixsd.evals.heldout import Limits, evaluate_benchmarks
from nemo_mixsd.evals.lm_eval_bridge import HarnessModel, run_lm_eval
from nemo_mixsd.evals.recall import evaluate_split, quick_accuracy
from nemo_mixsd.io import dump_line, read_jsonl, write_jsonl
from nemo_mixsd.mixing.engines.base import Engine, Sampling
from nemo_mixsd.mixing.preflight import check_engine
from nemo_mixsd.plan import MethodSpec, Plan
from nemo_mixsd.rate_stage import settle_rate
from nemo_mixsd.report import BASE, Report, read_checkpoint, write_report
from nemo_mixsd.run_context import RunContext
from nemo_mixsd.rundir import RunDirectory
from nemo_mixsd.targets import mix_targets, sft_targets
from nemo_mixsd.training.distill_config import DISTILLED
from nemo_mixsd.training.steps import StopRule, TrainResult, finished, step_directories
from nemo_mixsd.types import Method, Target, to_record

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from nemo_mixsd.analysis.callback import DisplacementCallback

logger = logging.getLogger(__name__)


def run(plan: Plan) -> Report:
    """Run a checked recipe (``plan.make_plan``) to its report, or go on where an earlier start stopped.

    Raises:
        MixSDError: Bad input, before any model is loaded; or a stage that failed, with what is finished kept.
    """
    callbacks = CallbackRunner.from_config(plan.config.callbacks)
    with RunDirectory(plan.config) as directory:
        pipeline = Pipeline(plan, directory, callbacks)
        try:
            return pipeline.run()
        finally:
            pipeline.unload()


class Pipeline(RunContext):
    """The stages of one run, over one run directory."""

    displacement: DisplacementCallback | None = None
    """Measures checkpoints, where the recipe asks for it; there once the Fisher is."""

    def run(self) -> Report:
        """All stages."""
        _ = self.requests  # prompts are built, and refused if too long, before a model is loaded
        if Method.MEMIT in self.config.method and finished(self.directory.checkpoints(Method.MEMIT)) is None:
            check_text(self.config.memit)  # now, not after the trainings of the other methods
        check_distillation(self)
        self.write_corpus()
        self.evaluate_base()
        self.plan = settle_rate(self)
        for spec in self.plan.methods:
            self.make_targets(spec)
        for spec in self.plan.methods:  # after all, so that one engine serves every rate
            self.score_targets(spec)
        self.displacement = displacement_callback(self)
        if self.displacement is not None:
            self.callbacks = self.callbacks.plus(self.displacement)
        for spec in self.plan.methods:
            self.train_and_evaluate(spec)
        report = write_report(self.directory.path)
        logger.info("report: %s", self.directory.path / "report.md")
        return report

    def write_corpus(self) -> None:
        """Keep the examples of the run; refuse a corpus that has changed since the run began."""
        for split, examples in self.plan.examples.items():
            path = self.directory.corpus(split)
            if not path.exists():
                write_jsonl(path, examples)
                continue
            now = "".join(dump_line(to_record(example)) + "\n" for example in examples)
            if path.read_text(encoding="utf-8") != now:
                raise RunDirectoryError(
                    f"the corpus has changed since this run began: split {split!r} differs from {path}. Restore the "
                    f"corpus to resume, or start a new run with run_dir={self.directory.path}-2"
                )

    def evaluate_base(self) -> None:
        """Draw the reference samples and measure the base model itself."""
        evals = self.directory.evals(BASE, 0)
        with self.directory.clock(BASE, "eval"):
            if self.plan.general_prompts and not (evals / "reference.jsonl").exists():
                settings = self.config.evals.forgetting
                reference = ReferenceSet(
                    self.plan.general_prompts,
                    settings.samples_per_prompt,
                    settings.max_new_tokens,
                    self.config.evals.batch_size,
                )
                sampling = Sampling(settings.temperature, None, settings.seed)
                with self.engine(self.model_path, sampling, self.config.evals.batch_size) as engine:
                    sample_reference(engine, self.renderer, reference, evals / "reference.jsonl")
            self.evaluate(BASE, 0, self.model_path)

    def make_targets(self, spec: MethodSpec) -> None:
        """Targets of one method, if it is trained on any."""
        if not spec.has_targets:
            return
        path = self.directory.targets(spec.name)
        if not path.exists():
            with self.directory.clock(spec.name, "targets"):
                if spec.rate is None:
                    sft_targets(self.plan.examples["train"], self.renderer, path)
                elif not share_targets(self.directory, spec):
                    self._mix(spec, spec.rate, path)
        self.callbacks.emit("on_targets_ready", spec.name, path)

    def score_targets(self, spec: MethodSpec) -> None:
        """NLL of one method's targets under the base model and the texts of their tokens, if it has any."""
        if not spec.has_targets:
            return
        pieces = self.directory.token_text(spec.name)
        if not pieces.exists():
            decode = partial(self.tokenizer.decode, clean_up_tokenization_spaces=False)
            keep_pieces(decode, read_jsonl(self.directory.targets(spec.name), Target), pieces)
        scored = self.directory.target_nll(spec.name)
        if self.config.analysis.target_nll and not scored.exists():
            targets = list(read_jsonl(self.directory.targets(spec.name), Target))
            with self.directory.clock(spec.name, "analysis"):
                if spec.rate is not None and self.config.mixing.temperature == 0:
                    limit = self.config.policy.preflight_gap
                    check_engine(self.model(self.model_path), targets, self.requests, spec.name, limit)
                score_targets(self.model(self.model_path), targets, scored, self.config.analysis.batch_size)

    def _mix(self, spec: MethodSpec, rate: float, path: Path) -> None:
        mixing = self.config.mixing
        sampling = Sampling(mixing.temperature, mixing.top_k, mixing.seed)
        with self.engine(self.model_path, sampling, mixing.max_in_flight) as engine:
            mixer = self.mixer(engine, self.mixer_settings(spec.name, rate))
            mix_targets(self.plan, mixer, self.requests, self.directory)

    def train_and_evaluate(self, spec: MethodSpec) -> None:
        """Train one method and evaluate its last checkpoint, or all."""
        checkpoints = self.directory.checkpoints(spec.name)
        self.unload()  # whatever generated or evaluated last: the memory is for what is trained now
        with self.directory.clock(spec.name, "train"):
            if spec.method == Method.MEMIT:
                result = self._edit(checkpoints)
            elif spec.method in DISTILLED:
                result = train_distillation(self, spec, self._stop_rule(spec))
            else:
                result = self._trainer()(
                    self.config,
                    spec.name,
                    self.model_path,
                    self.directory.targets(spec.name),
                    checkpoints,
                    self.callbacks,
                    stop=self._stop_rule(spec),
                )
        steps = step_directories(checkpoints) if self.config.evals.checkpoints == "all" else {result.step: result.path}
        for step, path in steps.items():
            with self.directory.clock(spec.name, "eval"):
                self.evaluate(spec.name, step, str(path))
            if self.displacement is not None:
                self.displacement.on_checkpoint_saved(spec.name, step, path)  # saved before the Fisher was asked for
            self._tell_validation(spec.name, step)

    def _edit(self, directory: Path) -> TrainResult:
        """MEMIT, in this process."""
        from nemo_mixsd.editing.memit import train_memit

        examples = self.plan.examples["train"]
        return train_memit(self.config, self.model_path, self.renderer, examples, directory, self.callbacks)

    def _trainer(self) -> Callable[..., TrainResult]:
        """The training function of the chosen backend; both take the same arguments."""
        if self.plan.backend.name == "nemo_rl":
            from nemo_mixsd.nemo.backend import train_nemo

            if self.config.evals.stop.train_accuracy is not None and self.config.cluster.gpus_per_node:
                logger.warning("evals.stop is for a policy in this process; NeMo-RL's cluster trains to the last step")
            return train_nemo
        from nemo_mixsd.training.local import train_local

        return train_local

    def _stop_rule(self, spec: MethodSpec) -> StopRule | None:
        """Stop when what is taught is known, if the recipe says so.

        Examples without a target are not asked for: a training that can never know them would never stop.
        """
        rule = self.config.evals.stop
        wanted = rule.train_accuracy
        if wanted is None:
            return None

        taught, path = self.plan.examples["train"], self.directory.targets(spec.name)
        if path.exists():
            ids = {target.example_id for target in read_jsonl(path, Target)}
            taught = [example for example in taught if example.id in ids]
        examples = taught[: self.config.evals.limit]

        def reached(model: PreTrainedModel) -> bool:
            from nemo_mixsd.mixing.engines.hf import HFEngine

            engine = HFEngine(model, self.stop_ids, slots=self.config.evals.batch_size)
            found = quick_accuracy(
                engine, self.renderer, self.plan.verifier, examples, self.config.evals.max_new_tokens
            )
            logger.info("%.3f of %d taught examples known, to stop at %.3f", found, len(examples), wanted)
            return found >= wanted

        return StopRule(rule.period, reached)

    def evaluate(self, name: str, step: int, model_path: str) -> None:
        """Everything that is measured on one checkpoint; loads it only if something is missing."""
        self._evaluate_facts(name, step, model_path)
        self._evaluate_heldout(name, step, model_path)

    def _evaluate_facts(self, name: str, step: int, model_path: str) -> None:
        evals = self.directory.evals(name, step)
        splits = self.plan.eval_splits()
        paths = [evals / f"{split}.jsonl" for split in splits]
        reference = self.directory.evals(BASE, 0) / "reference.jsonl"
        losses = evals / "reference_nll.jsonl"
        if all(p.exists() for p in paths) and (losses.exists() or not self.plan.general_prompts):
            return
        if not all(p.exists() for p in paths):
            with self.engine(model_path, Sampling(), self.config.evals.batch_size) as engine:
                for split, count in splits.items():
                    evaluate_split(
                        engine,
                        self.renderer,
                        self.plan.judge or self.plan.verifier,
                        self.plan.examples[split][:count],
                        evals / f"{split}.jsonl",
                        self.config.evals.max_new_tokens,
                        self.config.evals.batch_size,
                    )
        if self.plan.general_prompts and not losses.exists():
            samples = list(read_jsonl(reference, ReferenceSample))
            reference_nll(self.model(model_path), samples, losses, self.config.analysis.batch_size)

    def _evaluate_heldout(self, name: str, step: int, model_path: str) -> None:
        evals, directory = self.config.evals, self.directory.evals(name, step)
        limits = Limits(evals.batch_size, models.context_length(self.model_path))
        if self.plan.heldout:

            def open_engine(sampling: Sampling, _: int) -> AbstractContextManager[Engine]:
                return self.engine(model_path, sampling, evals.batch_size)

            evaluate_benchmarks(open_engine, self.renderer, self.plan.heldout, directory, limits)
        if evals.lm_eval:
            model = HarnessModel(model_path, self.config.policy.tokenizer.name, self.precision, models.default_device())
            run_lm_eval(evals.lm_eval, model, directory, evals.lm_eval_options, make_room=self.unload)

    def _tell_validation(self, name: str, step: int) -> None:
        found = read_checkpoint(self.directory.path, name, step)
        metrics = {f"{split}_accuracy": value for split, value in found.accuracy.items() if value is not None}
        metrics |= {f"heldout/{benchmark}": score.accuracy for benchmark, score in found.heldout.items()}
        metrics |= {f"displacement/{figure}": v for figure, v in found.displacement.items() if v is not None}
        if found.forgetting_nats is not None:
            metrics["forgetting_nats"] = found.forgetting_nats
        self.callbacks.emit("on_validation", name, step, metrics)
