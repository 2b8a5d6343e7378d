"""``nemo-mixsd eval``: held-out benchmarks on any checkpoint, without a run."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from nemo_mixsd.console import one_line_errors, setup_logging

if TYPE_CHECKING:
    from pydantic import BaseModel

    from nemo_mixsd.evals.config import EvalsConfig
    from nemo_mixsd.mixing.config import VllmConfig
    from nemo_mixsd.mixing.engines.base import Engine, Sampling

    Section = TypeVar("Section", bound=BaseModel)


@one_line_errors
def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="A model directory, a hub id, or bundled:NAME.")],
    benchmarks: Annotated[str, typer.Option("--benchmarks", help="Names, with commas: gsm8k,mmlu.")] = "",
    lm_eval: Annotated[str, typer.Option("--lm-eval", help="Tasks of lm-evaluation-harness, with commas.")] = "",
    limit: Annotated[int | None, typer.Option("--limit", help="Only so many problems of each.")] = None,
    path: Annotated[Path | None, typer.Option("--path", help="Folder with the data; else the hub.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Where results go; default evals/NAME.")] = None,
    engine: Annotated[str, typer.Option("--engine", help="auto, hf or vllm.")] = "auto",
    batch_size: Annotated[int, typer.Option("--batch-size", help="Responses at the same time.")] = 32,
    precision: Annotated[str, typer.Option("--precision", help="auto, float32, bfloat16 or float16.")] = "auto",
    options: Annotated[
        list[str] | None, typer.Option("--set", help="An option of a recipe's evals section: benchmark.gsm8k.samples=4")
    ] = None,
    vllm: Annotated[
        list[str] | None, typer.Option("--vllm", help="An option of mixing.vllm: gpu_memory_utilization=0.5")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log everything.")] = False,
) -> None:
    """Run held-out benchmarks on a checkpoint; start it again after an interruption, and it goes on."""
    setup_logging(verbose)
    from nemo_mixsd.quiet import quiet_libraries

    evals = _evals(benchmarks, lm_eval, limit, path, [*(options or []), f"batch_size={batch_size}"])
    job = _Job(checkpoint, evals, out, engine, precision, _vllm_options(vllm or []))
    quiet_libraries(verbose)
    job.run()


def _evals(benchmarks: str, lm_eval: str, limit: int | None, path: Path | None, options: list[str]) -> EvalsConfig:
    """The ``evals`` section that the options amount to."""
    from nemo_mixsd.errors import ConfigError
    from nemo_mixsd.evals.config import EvalsConfig

    raw: dict[str, Any] = {"benchmarks": _names(benchmarks), "lm_eval": _names(lm_eval), "benchmarks_limit": limit}
    if path is not None:
        raw["benchmarks_path"] = str(path)
    evals = _section(EvalsConfig, raw, "--set", options, "benchmark.gsm8k.samples=4")
    if not evals.benchmarks and not evals.lm_eval:
        from nemo_mixsd.evals.benchmarks import BENCHMARKS

        raise ConfigError(f"nothing to run: give --benchmarks ({', '.join(BENCHMARKS)}) or --lm-eval")
    return evals


def _vllm_options(options: list[str]) -> VllmConfig:
    """The ``mixing.vllm`` section that the options amount to."""
    from nemo_mixsd.mixing.config import VllmConfig

    return _section(VllmConfig, {}, "--vllm", options, "gpu_memory_utilization=0.5")


def _section(model: type[Section], raw: dict[str, Any], option: str, given: list[str], like: str) -> Section:
    """A section of a recipe from ``key=value`` texts of a repeatable option."""
    from omegaconf import OmegaConf
    from pydantic import ValidationError

    from nemo_mixsd.config import describe
    from nemo_mixsd.errors import ConfigError

    bad = next((text for text in given if "=" not in text), None)
    if bad is not None:
        raise ConfigError(f"{option} {bad}: write key=value, as in {option} {like}")
    values = OmegaConf.to_container(OmegaConf.from_dotlist(given))
    try:
        return model.model_validate({**raw, **(values if isinstance(values, dict) else {})})
    except ValidationError as error:
        raise ConfigError(describe(error, model)) from error


def _choose_engine(name: str) -> str:
    from nemo_mixsd import models
    from nemo_mixsd.errors import BackendError, ConfigError

    if name not in ("auto", "hf", "vllm"):
        raise ConfigError(f"--engine {name}: choose auto, hf or vllm")
    installed = importlib.util.find_spec("vllm") is not None
    if name == "vllm" and not installed:
        raise BackendError("--engine vllm: vLLM is not installed in this environment; use --engine hf")
    if name != "auto":
        return name
    return "vllm" if installed and models.default_device() == "cuda" else "hf"


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


class _Job:
    """One evaluation of one checkpoint."""

    def __init__(
        self, checkpoint: str, evals: EvalsConfig, out: Path | None, engine: str, precision: str, vllm: VllmConfig
    ) -> None:
        """Check everything that can be checked without loading a model."""
        from nemo_mixsd import models
        from nemo_mixsd.errors import ConfigError, ModelNotFoundError
        from nemo_mixsd.evals.heldout_plan import heldout_sets
        from nemo_mixsd.evals.lm_eval_bridge import check_lm_eval

        try:
            models.check_model(checkpoint)
        except ModelNotFoundError as error:
            raise ModelNotFoundError(str(error).replace("policy.model_name", "CHECKPOINT")) from error
        if precision not in ("auto", "float32", "bfloat16", "float16"):
            raise ConfigError(f"--precision {precision}: choose auto, float32, bfloat16 or float16")
        self.evals, self.checkpoint = evals, checkpoint
        self.engine_name, self.vllm = _choose_engine(engine), vllm
        self.out = out or Path("evals") / checkpoint.rstrip("/").replace("bundled:", "").replace("/", "_")
        self._check_owner()
        check_lm_eval(evals.lm_eval, evals.lm_eval_options)
        self.sets = heldout_sets(evals)
        self.model_path = models.resolve_model(checkpoint).path
        device = models.default_device()
        self.precision: Any = models.auto_precision() if precision == "auto" else precision
        self.device = device

    def _check_owner(self) -> None:
        from nemo_mixsd.errors import RunDirectoryError
        from nemo_mixsd.io import read_json

        file = self.out / "model.json"
        owner = read_json(file)["model"] if file.is_file() else self.checkpoint
        if owner != self.checkpoint:
            raise RunDirectoryError(f"{self.out} holds results of {owner}; give another --out for {self.checkpoint}")

    def run(self) -> None:
        """Evaluate, and print the table."""
        from nemo_mixsd import models
        from nemo_mixsd.evals.heldout import Limits, evaluate_benchmarks
        from nemo_mixsd.evals.heldout_report import heldout_lines, heldout_table, read_heldout
        from nemo_mixsd.evals.lm_eval_bridge import HarnessModel, run_lm_eval
        from nemo_mixsd.io import write_json, write_text
        from nemo_mixsd.prompts import PromptRenderer, choose_templates

        self.out.mkdir(parents=True, exist_ok=True)
        write_json(self.out / "model.json", {"model": self.checkpoint})
        self.tokenizer = models.load_tokenizer(self.model_path)
        renderer = PromptRenderer(self.tokenizer, choose_templates("fact"))
        limits = Limits(self.evals.batch_size, models.context_length(self.model_path))
        if self.sets:
            evaluate_benchmarks(self._engine, renderer, self.sets, self.out, limits)
        if self.evals.lm_eval:
            model = HarnessModel(self.model_path, None, self.precision, self.device)
            run_lm_eval(self.evals.lm_eval, model, self.out, self.evals.lm_eval_options)
        scores = read_heldout(self.out)
        rows = {self.checkpoint: scores}
        write_json(
            self.out / "report.json", {"model": self.checkpoint, "heldout": {n: asdict(s) for n, s in scores.items()}}
        )
        write_text(self.out / "report.md", "\n".join([f"# {self.checkpoint}", *heldout_lines(rows)]) + "\n")
        _show(*heldout_table(rows), self.out)

    @contextmanager
    def _engine(self, sampling: Sampling, longest: int) -> Iterator[Engine]:
        """An engine over the checkpoint, closed after use."""
        from nemo_mixsd import models

        stop_ids = models.stop_token_ids(self.tokenizer, self.model_path)
        if self.engine_name == "vllm":
            from nemo_mixsd.mixing.engines.vllm import make_vllm_engine
            from nemo_mixsd.mixing.engines.vllm_options import VLLMOptions

            options = VLLMOptions(
                dtype=self.precision,
                max_model_len=longest,
                max_in_flight=self.evals.batch_size,
                **self.vllm.model_dump(),
            )
            engine: Engine = make_vllm_engine(self.model_path, stop_ids, sampling, options)
        else:
            from nemo_mixsd.mixing.engines.hf import HFEngine

            model = models.load_model(self.model_path, self.precision)
            engine = HFEngine(model, stop_ids, sampling, self.evals.batch_size)
        try:
            yield engine
        finally:
            engine.close()


def _show(header: list[str], rows: list[list[str]], out: Path) -> None:
    table = Table(pad_edge=False)
    for i, name in enumerate(header):
        table.add_column(name, overflow="fold", justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print(f"{out}/report.md, report.json, and every response in *.jsonl", highlight=False)
