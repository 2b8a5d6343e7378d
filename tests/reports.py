"""Run directories and reports made by hand, with everything that a report can show."""

from pathlib import Path

import yaml

from nemo_mixsd.analysis.nll import TokenNLL
from nemo_mixsd.analysis.tokens import TokenText
from nemo_mixsd.evals.heldout import HeldoutScore
from nemo_mixsd.io import write_jsonl
from nemo_mixsd.mixing.auto_rate import Probe, decide, write_choice
from nemo_mixsd.mixing.coins import uniforms
from nemo_mixsd.mixing.config import AutoRateConfig
from nemo_mixsd.report import build_report
from nemo_mixsd.reporting.collect import Group, RunView
from nemo_mixsd.types import Response
from tests.samples import example, make_config, target

WORDS = (" the", " tower", " of", "\n", " Lisbon", " <b>", " é", "", " is", " blue", " & green", ".")
RATES = (0.1, 0.3, 0.5)
HELDOUT = {"aime2024": 30, "math500": 500, "gsm8k": 1319, "humaneval": 164, "mmlu": 2000}


def responses(right, count):
    return [Response(f"q{i}", "p", "r", "a", i < right, "stop", ()) for i in range(count)]


def make_run(path: Path, seed=0, model="owner/model", corpus=None, count=30, forgetting=0.0) -> Path:
    """A finished run of base, sft and three rates; token texts, NLL, reference losses and all."""
    config = make_config(
        corpus=corpus or {"name": "kgfact"}, mixing__seed=seed, sft__seed=seed, policy__model_name=model
    )
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    examples = [example(i, question=f"Where is tower <{i}> & co?") for i in range(count)]
    write_jsonl(path / "corpus" / "train.jsonl", examples)
    methods = {"base": (0, 0.0), "sft": (count, 1.4)} | {f"mixsd@{r:g}": (count - 3, 0.8 - r) for r in RATES}
    for n, (name, (right, rise)) in enumerate(methods.items()):
        loss = rise + forgetting * 0.1 if name != "base" else rise
        for step in (0,) if name == "base" else (10, 20):
            folder = path / "evals" / name / str(step)
            write_jsonl(folder / "train.jsonl", responses(right if step == 20 else right // 2, count))
            write_jsonl(folder / "paraphrase.jsonl", responses(right // 2, count))
            write_jsonl(folder / "retrieval.jsonl", responses(count // 2 + n, count))
            reference = [TokenNLL(f"g{i}", (1.0 + loss * (step or 20) / 20,) * 4) for i in range(3)]
            write_jsonl(folder / "reference_nll.jsonl", reference)
        if name != "base":
            write_targets(path, name, examples, float(name.partition("@")[2] or 0), seed)
    return path


def write_targets(path, name, examples, rate, seed):
    targets, scores, texts = [], [], []
    for i, e in enumerate(examples):
        u = uniforms("report", seed, f"{name}{i}", 0, 0, 3 * len(WORDS)).reshape(3, -1)
        ids = [30 + j for j in range(len(WORDS))]
        naive = tuple(bool(v < rate) for v in u[0])
        text = "".join(WORDS)
        targets.append(
            target(i, tokens=(*ids[:-1], 1), from_naive=naive, text=text, attempts=0 if name == "sft" else 2)
        )
        top = 14 if name == "sft" else 9 - 6 * rate
        scores.append(TokenNLL(e.id, tuple(round(float(v) * top, 4) for v in u[1])))
        texts.append(TokenText(e.id, WORDS))
    kept = slice(0, None if name == "sft" else -2)  # the last two are discarded by every rate
    write_jsonl(path / "targets" / f"{name}.jsonl", targets[kept])
    write_jsonl(path / "analysis" / "target_nll" / f"{name}.jsonl", scores[kept])
    write_jsonl(path / "analysis" / "token_text" / f"{name}.jsonl", texts[kept])


def full_view(path: Path) -> RunView:
    """The run with what other commands measure: held-out benchmarks, error kinds, displacement, a choice of λ."""
    probes = [Probe(r, 20, i, 20 + 15 * i, 400, 0.3 - 0.1 * i, 2.0 - i) for i, r in enumerate(RATES)]
    write_choice(path / "analysis" / "rate_probe.json", decide(probes, AutoRateConfig()))
    report = build_report(path)
    for n, (name, row) in enumerate(report.methods.items()):
        for benchmark, size in HELDOUT.items():
            accuracy = 0.6 if name == "base" else 0.1 + 0.1 * n
            row.heldout[benchmark] = accuracy
            row.heldout_detail[benchmark] = score(benchmark, accuracy, size)
            wrong = round((1 - accuracy) * size)
            counts = {"format": wrong // 5, "leakage": wrong // 7, "collapse": wrong // 3}
            row.errors[benchmark] = {**counts, "genuine": wrong - sum(counts.values()), "responses": size}
        if name != "base":
            row.displacement |= {"raw": 40.0 + 10 * n, "fisher_weighted": 0.2, "alignment": 1.3 - 0.1 * n}
    return RunView(path, report)


def score(benchmark, accuracy, size):
    fields = {
        "benchmark": benchmark, "accuracy": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.02,
        "interval": "wilson", "problems": size, "total": size, "samples": 1, "seed": 0,
        "correct": round(accuracy * size), "truncated": 0, "metric": "accuracy", "subjects": {}, "key": "k",
    }  # fmt: skip
    known = HeldoutScore.__dataclass_fields__
    return HeldoutScore(**{k: v for k, v in fields.items() if k in known})


def full_group(path: Path) -> Group:
    return Group((full_view(make_run(path)),))
