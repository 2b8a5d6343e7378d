"""The target stage: canonical targets as ids, mixed ones through the journal."""

import json
import logging

import pytest

from nemo_mixsd.errors import CorpusError, JournalError
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.mixing.mixer import Mixer, MixerSettings
from nemo_mixsd.plan import make_plan
from nemo_mixsd.prompts import PromptRenderer
from nemo_mixsd.rundir import RunDirectory
from nemo_mixsd.targets import mix_targets, sft_target, sft_targets
from nemo_mixsd.types import Discard, Target
from tests.samples import ScriptedEngine, example, make_config
from tests.tiny import EOS, WORDS

BLUE, RED = WORDS.index("blue"), WORDS.index("red")


def renderer(tokenizer, plan=None):
    from nemo_mixsd.prompts import DEFAULT_TEMPLATES

    return PromptRenderer(tokenizer, plan.templates if plan else DEFAULT_TEMPLATES["fact"])


def test_canonical_targets_are_the_texts_ids_and_one_eos(tiny_tokenizer, tmp_path):
    r = renderer(tiny_tokenizer)
    e = example(1, target="it is blue .")
    made = sft_target(e, r)
    assert tiny_tokenizer.convert_ids_to_tokens(list(made.token_ids)) == ["it", "is", "blue", ".", "<eos>"]
    assert made.prompt_ids == r.naive_ids(e.question)
    assert (made.attempts, made.finish_reason, made.text) == (0, "stop", "it is blue .")
    assert set(made.from_naive) == {False}
    sft_targets([e, example(2)], r, tmp_path / "sft.jsonl")
    assert list(read_jsonl(tmp_path / "sft.jsonl", Target)) == [made, sft_target(example(2), r)]


@pytest.fixture
def mix(tmp_path, tiny_model_dir, tiny_tokenizer):
    facts = tmp_path / "facts.jsonl"
    facts.write_text(
        "".join(json.dumps({"id": f"e{i}", "question": f"w{i} ?", "answer": "blue"}) + "\n" for i in range(9))
    )

    def mix(engine, name="mixsd@0.5", rate=0.5, **changes):
        config = make_config(
            run_dir=str(tmp_path / "run"),
            corpus={"name": "jsonl", "path": str(facts)},
            policy__model_name=str(tiny_model_dir),
            mixing__max_retries=1,
            mixing__max_new_tokens=3,
            **changes,
        )
        plan, directory = make_plan(config), RunDirectory(config)
        r = renderer(tiny_tokenizer, plan)
        requests = list(r.requests(plan.examples["train"], 1000))
        mixing = config.mixing
        settings = MixerSettings(
            name,
            rate,
            mixing.seed,
            mixing.max_retries,
            mixing.max_new_tokens,
            mixing.max_total_tokens,
            max_in_flight=mixing.max_in_flight,
        )
        with directory:
            mix_targets(plan, Mixer(engine, plan.verifier, r.decode, settings), requests, directory)
        return directory

    return mix


def expert_knows(ids):
    """The expert, who was told the answer, says it; the naive prompt says red."""
    if ids[-1] in (BLUE, RED):
        return EOS
    return BLUE if BLUE in ids else RED


def test_targets_and_discards_are_written(mix, caplog):
    with caplog.at_level(logging.WARNING, logger="nemo_mixsd"):
        directory = mix(ScriptedEngine(expert_knows))
    targets = list(read_jsonl(directory.targets("mixsd@0.5"), Target))
    discards = list(read_jsonl(directory.discarded, Discard))
    assert [t.example_id for t in targets] == sorted(t.example_id for t in targets)
    assert {t.example_id for t in targets} | {d.example_id for d in discards} == {f"e{i}" for i in range(9)}
    assert len(targets) + len(discards) == 9
    assert 0 < len(discards) < 9
    assert all(t.text == "blue" and t.token_ids == (BLUE, EOS) and not t.from_naive[0] for t in targets)
    assert all(d.attempts == 2 and d.name == "mixsd@0.5" for d in discards)
    assert f"mixsd@0.5: {len(discards)} of 9 examples discarded" in caplog.text
    assert sorted(p.name for p in directory.path.joinpath("targets").iterdir()) == [
        "discarded.jsonl",
        "mixsd@0.5.jsonl",
    ]


class Stop(Exception):
    pass


@pytest.mark.parametrize("polls", [0, 2, 4])
def test_an_interrupted_stage_goes_on_and_ends_in_the_same_bytes(mix, polls, tmp_path):
    class Failing(ScriptedEngine):
        left = polls

        def poll(self):
            if not self.left:
                raise Stop
            self.left -= 1
            return super().poll()

    with pytest.raises(Stop):
        mix(Failing(expert_knows), rate=0.3, name="mixsd@0.3", mixing__max_in_flight=2)
    path = tmp_path / "run" / "targets" / "mixsd@0.3.jsonl"
    assert not path.exists()
    mix(ScriptedEngine(expert_knows), rate=0.3, name="mixsd@0.3", mixing__max_in_flight=5)
    first = path.read_bytes(), (tmp_path / "run" / "targets" / "discarded.jsonl").read_bytes()
    path.unlink()
    mix(ScriptedEngine(expert_knows, per_poll=1), rate=0.3, name="mixsd@0.3")
    assert (path.read_bytes(), (tmp_path / "run" / "targets" / "discarded.jsonl").read_bytes()) == first


def test_a_journal_of_other_settings_is_refused(mix):
    engine = ScriptedEngine(expert_knows)
    engine.poll = lambda: (_ for _ in ()).throw(Stop())
    with pytest.raises(Stop):
        mix(engine)
    with pytest.raises(JournalError, match="another configuration"):
        mix(ScriptedEngine(expert_knows), rate=0.4)


def test_when_every_example_is_discarded_the_reason_is_told(mix):
    with pytest.raises(CorpusError) as caught:
        mix(ScriptedEngine(lambda ids: EOS if ids[-1] == RED else RED))
    text = str(caught.value)
    assert "mixsd@0.5: the verifier 'contains' rejected every attempt on all 9 examples" in text
    assert "'blue' does not stand in the text" in text
    assert "Lower mixing.rate" in text
