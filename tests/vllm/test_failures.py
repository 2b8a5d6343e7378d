"""What real vLLM refuses, or dies of, is an EngineError that names the example, and the journal stays whole."""

import multiprocessing
from dataclasses import replace

import psutil
import pytest

from nemo_mixsd.errors import EngineError
from nemo_mixsd.mixing.engines.base import Sampling, SegmentRequest
from nemo_mixsd.mixing.engines.vllm import VLLMEngine, make_vllm_engine
from nemo_mixsd.mixing.engines.vllm_core import RequestParams
from nemo_mixsd.mixing.journal import Journal, generate
from nemo_mixsd.mixing.mixer import Mixer
from tests.vllm.compare import AcceptAll, mix, setup
from tests.vllm.conftest import OPTIONS


@pytest.fixture
def engine(core, stop):
    core.params = RequestParams(stop, Sampling())
    engine = VLLMEngine(core, stop)
    yield engine
    engine.release()


def test_too_long_a_prompt_is_refused_up_front(engine):
    with pytest.raises(EngineError, match="'Lisbon': its prompt has 1024 tokens, vLLM was started for 1024"):
        engine.submit(SegmentRequest("k", "s", (5,) * 1024, 1, "Lisbon"))


def test_an_impossible_token_is_refused_and_the_engine_goes_on(engine, requests):
    before = mix(engine, requests[:3], setup(0.5))
    with pytest.raises(EngineError, match="'Lisbon': vLLM refused the request"):
        engine.submit(SegmentRequest("k", "s", (5, 10_000_000), 1, "Lisbon"))
    assert mix(engine, requests[:3], setup(0.5)) == before


def test_a_model_that_is_not_there_is_an_engine_error(stop, tmp_path):
    with pytest.raises(EngineError, match="vLLM did not start with"):
        make_vllm_engine(str(tmp_path), stop, Sampling(), OPTIONS)


@pytest.mark.parametrize("changes", [{"mode": "async"}, {"data_parallel": 2}])
def test_a_dead_engine_names_examples_and_the_next_start_goes_on(engine, model_path, requests, stop, changes, tmp_path):
    settings = setup(0.5)
    some = requests[:40]
    journal = Journal(tmp_path / "journal.jsonl", "key")
    doomed = make_vllm_engine(model_path, stop, Sampling(), replace(OPTIONS, **changes))

    def kill_soon(outcome):
        if len(journal) == 5:
            workers = psutil.Process().children(recursive=True)
            trackers = {p.pid for p in workers if "resource_tracker" in " ".join(p.cmdline())}
            for worker in workers:
                if worker.pid not in trackers:
                    worker.kill()

    with pytest.raises(EngineError, match=r"while decoding 'kgfact-\d+'"):
        generate(some, Mixer(doomed, AcceptAll(), lambda ids: "", settings), journal, kill_soon)
    doomed.close()
    journal.close()
    journal = Journal(tmp_path / "journal.jsonl", "key")
    kept = len(journal)
    assert 5 <= kept < 40
    generate(some, Mixer(engine, AcceptAll(), lambda ids: "", settings), journal)
    assert sorted(journal.ids()) == sorted(r.example_id for r in some)
    assert not multiprocessing.active_children()
