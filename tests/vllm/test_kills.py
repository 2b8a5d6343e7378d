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

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    process, _ = start(whole)
    process.join()
    assert process.exitcode == 0

    rng = random.Random(20)
    lengths = []
    for kill in range(KILLS):
        process, ready = start(broken)
        if kill % 5 != 4:  # every fifth is killed while it starts
            assert ready.wait(120)
        time.sleep(rng.uniform(0.0, 1.0))
        process.kill()
        process.join()
        assert process.exitcode == -9, "it was finished before the kill: nothing is tested"
        journal = broken / "journal.jsonl"
        lengths.append(len(journal.read_bytes().splitlines()) - 1 if journal.exists() else 0)
    print("outcomes in the journal after each kill:", lengths)
    assert lengths == sorted(lengths), "an outcome was lost"
    assert 0 < lengths[-1] < len(requests)
    process, _ = start(broken)
    process.join()
    assert process.exitcode == 0
    for name in ("targets.jsonl", "discarded.jsonl"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    lines = [line for name in ("targets.jsonl", "discarded.jsonl") for line in (broken / name).read_text().splitlines()]
    ids = [json.loads(line)["example_id"] for line in lines]
    assert sorted(ids) == sorted(r.example_id for r in requests)
    assert not (broken / "journal.jsonl").exists()
