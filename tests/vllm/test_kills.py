"""Twenty kills with SIGKILL at random moments: the same targets in the end, none lost, none doubled."""

import json
import multiprocessing
import random
import time

import pytest

from nemo_mixsd.mixing.engines.base import Sampling
from nemo_mixsd.mixing.engines.vllm import make_vllm_engine
from nemo_mixsd.mixing.journal import Journal, finish, generate
from nemo_mixsd.mixing.mixer import Mixer
from nemo_mixsd.mixing.verifier import ContainsVerifier
from nemo_mixsd.models import load_tokenizer
from tests.vllm.compare import setup
from tests.vllm.conftest import OPTIONS

KILLS = 20


def work(path, stop, requests, directory, ready):
    """One start of a generation: it goes on from the journal and, if it lives, finishes it."""
    tokenizer = load_tokenizer(path)
    engine = make_vllm_engine(path, stop, Sampling(), OPTIONS)
    ready.set()
    journal = Journal(directory / "journal.jsonl", "key")

    def decode(ids):
        return tokenizer.decode(ids, skip_special_tokens=True)

    generate(requests, Mixer(engine, ContainsVerifier(), decode, setup(0.5, in_flight=16, max_retries=3)), journal)
    order = [r.example_id for r in requests]
    finish(journal, order, directory / "targets.jsonl", directory / "discarded.jsonl", "mixsd@0.5")


@pytest.mark.slow
def test_twenty_kills(model_path, stop, requests, tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "vllm", "tests.vllm.test_kills"])  # else each start imports for seconds

    def start(directory):
        directory.mkdir(exist_ok=True)
        ready = context.Event()
        process = context.Process(target=work, args=(model_path, stop, requests, directory, ready))
        process.start()
        return process, ready

    whole = tmp_path / "whole"
    process, ready = start(whole)
    assert ready.wait(300)
    began = time.monotonic()
    process.join()
    assert process.exitcode == 0
    seconds = time.monotonic() - began  # of a generation on this machine: the moments of the kills follow it

    rng = random.Random(20)
    kills, partial, rounds = 0, 0, 0
    while kills < KILLS:
        rounds += 1
        assert rounds < KILLS, "every start comes through before its kill"
        broken, before = tmp_path / f"broken{rounds}", 0
        while True:
            process, ready = start(broken)
            if kills % 5 != 4:  # every fifth is killed while it starts
                assert ready.wait(300)
            process.join(rng.uniform(0.0, seconds / 2))
            if not process.is_alive():
                break
            process.kill()
            process.join()
            kills += 1
            journal = broken / "journal.jsonl"
            kept = max(0, len(journal.read_bytes().splitlines()) - 1) if journal.exists() else 0
            assert kept >= before, "an outcome was lost"
            partial += 0 < kept < len(requests)
            before = kept
        assert process.exitcode == 0
        same(broken, whole, requests)
    print(f"{kills} kills in {rounds} rounds, {partial} with outcomes in the journal")
    assert partial >= KILLS // 4, "hardly a kill hit a generation that was under way"


def same(broken, whole, requests):
    """The files of a killed and a quiet generation are equal; no example is lost or doubled."""
    names = ("targets.jsonl", "discarded.jsonl")
    for name in names:
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    ids = [json.loads(line)["example_id"] for name in names for line in (broken / name).read_text().splitlines()]
    assert sorted(ids) == sorted(r.example_id for r in requests)
    assert not (broken / "journal.jsonl").exists()
