"""kill -9 in mid-benchmark, then the same again: no response is generated twice, and the table is the same."""

import json
import random
import time
from contextlib import contextmanager
from functools import partial

import pytest
import torch

from nemo_mixsd.evals.benchmarks import BenchmarkResponse
from nemo_mixsd.evals.config import EvalsConfig
from nemo_mixsd.evals.heldout import Limits, evaluate_benchmarks
from nemo_mixsd.evals.heldout_plan import heldout_sets
from nemo_mixsd.evals.heldout_report import heldout_table, read_heldout
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.mixing import journal as journal_module
from nemo_mixsd.mixing.engines.hf import HFEngine
from nemo_mixsd.prompts import PromptRenderer, PromptTemplates
from tests.integration.test_kill import FORK, kill_until_through
from tests.tiny import EOS, make_model, make_tokenizer

KILLS = 10


def measure(data, where, log, slow=0.0):
    """Run two benchmarks, one of them with samples, and log each response that was kept."""
    torch.set_num_threads(1)
    append = journal_module.Journal.append

    def logged(self, outcome):
        append(self, outcome)
        with open(log, "a") as handle:
            handle.write(f"{self.path.name} {outcome.example_id}\n")
        time.sleep(slow)

    journal_module.Journal.append = logged
    try:
        model = make_model(3, scale=0.4)
        renderer = PromptRenderer(make_tokenizer(), PromptTemplates("{question}", "{answer} {question}"))
        evals = EvalsConfig(
            benchmarks=["gsm8k", "aime2024"],
            benchmarks_path=str(data),
            benchmark={"gsm8k": {"max_new_tokens": 20}, "aime2024": {"samples": 3, "max_new_tokens": 20}},
        )

        @contextmanager
        def open_engine(sampling, longest):
            yield HFEngine(model, frozenset({EOS}), sampling, slots=4)

        evaluate_benchmarks(open_engine, renderer, heldout_sets(evals), where, Limits(4, 256))
    finally:
        journal_module.Journal.append = append


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    gsm8k = [{"question": f"what is w{i} and w{i + 1} ?", "answer": f"it is\n#### {i}"} for i in range(24)]
    aime = [{"problem": f"name w{i} .", "answer": i} for i in range(8)]
    for name, rows in (("gsm8k", gsm8k), ("aime2024", aime)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def start(data, where, log):
    process = FORK.Process(target=measure, args=(data, where, log, 0.03), daemon=True)
    process.start()
    return process


@pytest.mark.slow
def test_killed_again_and_again(data, tmp_path):
    quiet = tmp_path / "evals" / "quiet" / "1"
    measure(data, quiet, tmp_path / "quiet.log")
    rng, kills, rounds = random.Random(2), 0, 0
    while kills < KILLS:
        rounds += 1
        assert rounds <= 10, "every start comes through before its kill"
        where, log = tmp_path / "evals" / f"killed{rounds}" / "1", tmp_path / f"killed{rounds}.log"
        kills += kill_until_through(partial(start, data, where, log), rng, 1.0 / rounds)
        kept = log.read_text().splitlines()
        assert len(kept) == len(set(kept))
        for name in ("gsm8k", "aime2024"):
            for ending in (".jsonl", ".json"):
                assert (where / f"{name}{ending}").read_bytes() == (quiet / f"{name}{ending}").read_bytes()
        records = [r for name in ("gsm8k", "aime2024") for r in read_jsonl(where / f"{name}.jsonl", BenchmarkResponse)]
        assert len(records) == 24 + 8 * 3
        assert heldout_table({"m": read_heldout(where)}) == heldout_table({"m": read_heldout(quiet)})
        assert sorted(p.name for p in where.iterdir()) == sorted(p.name for p in quiet.iterdir())
