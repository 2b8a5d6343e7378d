"""Accuracy on a split: judged by the verifier, resumable by response."""

import pytest

from nemo_mixsd.corpora.judge import JudgeError
from nemo_mixsd.errors import JournalError
from nemo_mixsd.evals.recall import accuracy, evaluate_split
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.mixing.verifier import make_verifier
from nemo_mixsd.prompts import PromptRenderer, PromptTemplates
from nemo_mixsd.types import Response
from tests.samples import ScriptedEngine, example
from tests.tiny import EOS, WORDS

BLUE, GREEN = WORDS.index("blue"), WORDS.index("green")
EXAMPLES = [example(i, answer="blue" if i % 3 else "green", aliases=("sky",) if i == 3 else ()) for i in range(8)]


class Stop(Exception):
    pass


def says_blue(ids):
    return EOS if ids[-1] == BLUE else BLUE


@pytest.fixture
def evaluate(tmp_path, tiny_tokenizer):
    renderer = PromptRenderer(tiny_tokenizer, PromptTemplates("{question}", "{answer} {question}"))

    def evaluate(engine, examples=EXAMPLES, max_new_tokens=5, name="contains"):
        path = tmp_path / "evals" / "sft" / "6" / "train.jsonl"
        grader = make_verifier(name) if isinstance(name, str) else name
        return evaluate_split(engine, renderer, grader, examples, path, max_new_tokens, 3), path

    return evaluate


def test_responses_are_judged_and_kept_in_order(evaluate, tiny_tokenizer):
    engine = ScriptedEngine(says_blue)
    responses, path = evaluate(engine)
    assert [r.example_id for r in responses] == [e.id for e in EXAMPLES]
    assert [r.correct for r in responses] == [False, True, True, False, True, True, False, True]
    assert accuracy(responses) == 5 / 8
    first = responses[1]
    assert first == Response("e1", EXAMPLES[1].question, "blue", "blue", True, "stop", (BLUE, EOS))
    assert list(read_jsonl(path, Response)) == responses
    assert sorted(p.name for p in path.parent.iterdir()) == ["train.jsonl"]
    chat = tiny_tokenizer.convert_ids_to_tokens(list(next(r for r in engine.submitted if r.key == "e1").prompt_ids))
    assert " ".join(chat) == "<user> what is the colour of w1 ? <eos> <assistant>"


def test_aliases_count(evaluate):
    sky = WORDS.index("sky")
    responses, _ = evaluate(ScriptedEngine(lambda ids: EOS if ids[-1] == sky else sky))
    assert [r.example_id for r in responses if r.correct] == ["e3"]


def test_a_complete_evaluation_is_read_not_repeated(evaluate):
    first, _ = evaluate(ScriptedEngine(says_blue))
    engine = ScriptedEngine(lambda ids: EOS)
    assert evaluate(engine)[0] == first
    assert engine.submitted == []


@pytest.mark.parametrize("fail_after", range(8))
def test_after_an_interruption_no_response_is_generated_again(evaluate, fail_after):
    """Whatever was finished before the cut is kept; the rest is asked once more, and the file is the same."""

    class Failing(ScriptedEngine):
        done = 0

        def poll(self):
            if self.done >= fail_after:
                raise Stop
            results = super().poll()
            self.done += len(results)
            return results

    whole = [Response(e.id, e.question, "blue", e.answer, e.answer == "blue", "stop", (BLUE, EOS)) for e in EXAMPLES]
    first, second = Failing(says_blue, per_poll=1), ScriptedEngine(says_blue)
    with pytest.raises(Stop):
        evaluate(first)
    responses, _ = evaluate(second)
    assert responses == whole
    assert len(second.submitted) == 8 - fail_after
    finished = {e.id for e in EXAMPLES} - {r.key for r in second.submitted}
    assert finished <= {r.key for r in first.submitted}


def test_a_journal_of_other_settings_is_refused(evaluate):
    engine = ScriptedEngine(says_blue)
    engine.poll = lambda: (_ for _ in ()).throw(Stop())
    with pytest.raises(Stop):
        evaluate(engine)
    for other in ({"max_new_tokens": 6}, {"name": "exact"}):
        with pytest.raises(JournalError, match="another configuration"):
            evaluate(ScriptedEngine(says_blue), **other)


def test_no_questions_have_no_accuracy(evaluate):
    assert accuracy([]) is None
    responses, path = evaluate(ScriptedEngine(says_blue), examples=[])
    assert responses == []
    assert path.read_text() == ""


class Doubtful:
    """A judge: blue is right for even examples, the rest it does not count as tried; it fails on one if told so."""

    fails_on = None

    def judge(self, example, response):
        if example.id == self.fails_on:
            raise OSError("no connection")
        return "correct" if int(example.id[1:]) % 2 == 0 else "not_attempted"


def test_a_judge_grades_in_the_place_of_the_verifier(evaluate):
    responses, path = evaluate(ScriptedEngine(says_blue), name=Doubtful())
    assert [r.correct for r in responses] == [True, False] * 4
    assert [r.verdict for r in responses] == ["correct", "not_attempted"] * 4
    assert list(read_jsonl(path, Response)) == responses


def test_a_judge_that_fails_is_an_error_and_what_was_graded_is_kept(evaluate):
    judge = Doubtful()
    judge.fails_on = "e5"
    with pytest.raises(JudgeError, match="judge Doubtful failed on example 'e5'"):
        evaluate(ScriptedEngine(says_blue, per_poll=1), name=judge)
    judge.fails_on = None
    engine = ScriptedEngine(says_blue)
    responses, _ = evaluate(engine, name=judge)
    assert len(engine.submitted) < 8
    assert [r.correct for r in responses] == [True, False] * 4
