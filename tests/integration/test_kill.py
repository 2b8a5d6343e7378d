"""kill -9 at any moment, then the same command: nothing lost, nothing done twice, the same result."""

import json
import multiprocessing
import os
import random
import resource
import signal
import time
from pathlib import Path

import pytest
import torch

from nemo_mixsd.config import load_config
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.mixing import journal as journal_module
from nemo_mixsd.types import Discard, Target
from tests.tiny import run_config

FORK = multiprocessing.get_context("fork")


def child(recipe, overrides, slow=0.0):
    torch.set_num_threads(1)
    if slow:
        append = journal_module.Journal.append

        def slowly(self, outcome):
            append(self, outcome)
            time.sleep(slow)

        journal_module.Journal.append = slowly
    run_config(load_config(recipe, overrides))


def start(recipe, overrides, slow=0.0):
    process = FORK.Process(target=child, args=(recipe, overrides, slow), daemon=True)
    process.start()
    return process


def kill_until_through(begin, rng, longest):
    """``begin`` a process again and again, killing it at random moments, until one comes through; count the kills."""
    for kills in range(200):
        process = begin()
        process.join(rng.uniform(0.0, longest) if kills < 60 else None)
        if not process.is_alive():
            assert process.exitcode == 0, f"a start after {kills} kills failed with exit code {process.exitcode}"
            return kills
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    raise AssertionError("never came through")


def run_and_kill(recipe, overrides, rng, longest, slow=0.0):
    """Start a run until it comes through; count the kills that hit."""
    return kill_until_through(lambda: start(recipe, overrides, slow), rng, longest)


def run_killed(count, recipe, overrides, quiet, seconds):
    """Whole runs, each killed at random moments, until ``count`` kills hit; each ends in the report of the quiet run.

    ``seconds``: how long the quiet run took; the kills come within a third of that, and earlier with each round,
    so that enough of them hit however fast the machine is.
    """
    rng, kills, rounds = random.Random(1), 0, 0
    while kills < count:
        rounds += 1
        assert rounds <= 10, "every start comes through before its kill"
        where = quiet.with_name(f"killed{rounds}")
        kills += run_and_kill(recipe, [*overrides, f"run_dir={where}"], rng, seconds / (2 + rounds))
        assert without_times(where) == without_times(quiet)


def without_times(path: Path):
    report = json.loads((path / "report.json").read_text())
    for row in report["methods"].values():
        row.pop("seconds")
        row["cost"].pop("seconds", None)
    return report


@pytest.mark.slow
def test_generation_killed_again_and_again(recipe, tmp_path):
    """At least 20 kills while targets are generated: the file is byte for byte that of a quiet run."""
    base = ["method=mixsd", "sft.max_num_steps=1", "mixing.max_in_flight=5", "mixing.rate=0.5"]
    quiet = [*base, f"run_dir={tmp_path}/quiet"]
    run_config(load_config(recipe, quiet))
    expected = (tmp_path / "quiet" / "targets" / "mixsd@0.5.jsonl").read_bytes()
    rng = random.Random(4)
    kills, round_ = 0, 0
    while kills < 20:
        round_ += 1
        where = tmp_path / f"killed{round_}"
        kills += run_and_kill(recipe, [*base, f"run_dir={where}"], rng, longest=1.2, slow=0.1)
        assert (where / "targets" / "mixsd@0.5.jsonl").read_bytes() == expected
        finished = [t.example_id for t in read_jsonl(where / "targets" / "mixsd@0.5.jsonl", Target)]
        finished += [d.example_id for d in read_jsonl(where / "targets" / "discarded.jsonl", Discard)]
        corpus = [json.loads(line)["id"] for line in (where / "corpus" / "train.jsonl").read_text().splitlines()]
        assert sorted(finished) == sorted(corpus)
        assert not list(where.rglob("*.journal")) and not list(where.rglob("*.tmp"))


@pytest.mark.slow
def test_whole_run_killed_in_training_and_evaluation(recipe, tmp_path):
    base = ["checkpointing.save_period=2", "sft.max_num_epochs=6"]
    begun = time.monotonic()
    run_config(load_config(recipe, [*base, f"run_dir={tmp_path}/quiet"]))
    run_killed(3, recipe, base, tmp_path / "quiet", time.monotonic() - begun)


def full_disk(recipe, overrides, limit):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    from nemo_mixsd.errors import StorageError

    try:
        run_config(load_config(recipe, overrides))
    except StorageError as error:
        os._exit(3 if "same command" in str(error) else 4)
    os._exit(5)


@pytest.mark.parametrize("limit", [3_000, 9_000, 40_000])
def test_disk_fills_up(recipe, tmp_path, limit):
    """No file may grow past ``limit`` bytes: a clear error, nothing half-written, and then the run goes on."""
    overrides = ["method=mixsd", f"run_dir={tmp_path}/full"]
    process = FORK.Process(target=full_disk, args=(recipe, overrides, limit))
    process.start()
    process.join()
    assert process.exitcode == 3
    where = tmp_path / "full"
    assert not list(where.rglob("*.tmp"))
    for path in where.rglob("*.jsonl"):
        lines = path.read_text().splitlines(keepends=True)
        assert all(json.loads(line) and line.endswith("\n") for line in lines)
        assert lines or path.name == "discarded.jsonl"
    assert not list((where / "checkpoints").glob("*/step_*"))
    report = run_config(load_config(recipe, overrides))
    assert report.methods["mixsd@0.3"].train_accuracy is not None


def test_two_processes_do_not_share_a_run(recipe, tmp_path):
    from nemo_mixsd.errors import RunDirectoryError

    process = start(recipe, ["method=mixsd"], slow=0.5)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "config.yaml").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    with pytest.raises(RunDirectoryError, match="in use by another process"):
        run_config(load_config(recipe, ["method=mixsd"]))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert run_config(load_config(recipe, ["method=mixsd"])).methods
