"""The local distillation against a plain loop without batches, and what a kill and bad settings do to it."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from nemo_mixsd.callbacks import CallbackRunner, _Entry
from nemo_mixsd.errors import BackendError, ConfigError
from nemo_mixsd.io import read_json, write_jsonl
from nemo_mixsd.mixing.coins import gumbel
from nemo_mixsd.models import load_model
from nemo_mixsd.training import distill
from nemo_mixsd.training.data import data_order
from nemo_mixsd.training.distill import collate_samples, train_distill
from nemo_mixsd.training.distill_source import DistillSource
from nemo_mixsd.training.rollouts import Sample, Speaker
from nemo_mixsd.training.steps import StopRule, finished, step_directories
from nemo_mixsd.training.teacher import TeacherPrompt
from nemo_mixsd.types import Method
from tests.samples import make_config, target
from tests.tiny import EOS, VOCABULARY

PROMPTS = [
    TeacherPrompt("e0", (2, 10, 3), (2, 40, 41, 42, 10, 3)),
    TeacherPrompt("e1", (5, 6, 7, 8, 9), (50, 5, 6, 7, 8, 9)),
    TeacherPrompt("e2", (6, 7), (60, 61, 62, 63, 64, 65, 6, 7)),
    TeacherPrompt("e3", (11, 12, 13, 14), (11, 70)),
    TeacherPrompt("e4", (15,), (71, 72, 15)),
]
TARGETS = [
    target(0, (2, 10, 3), (20, 21, EOS)),
    target(1, (5, 6, 7, 8, 9), (22,)),
    target(2, (6, 7), (23, 24, 25, 26, 27, EOS)),
    target(4, (15,), (31, 32)),
]
STEPS, BATCH, LR, LONGEST, TOPK = 4, 4, 1e-2, 6, 8


class Recorder:
    def __init__(self, fail=None):
        self.steps, self.saved, self.ended, self.fail = {}, [], [], fail

    def on_train_step(self, name, step, metrics):
        self.steps[step] = metrics
        if self.fail == ("step", step):
            raise RuntimeError("stop here")

    def on_checkpoint_saved(self, name, step, path):
        self.saved.append(step)
        if self.fail == ("saved", step):
            raise RuntimeError("stop here")

    def on_train_end(self, name, step, path):
        self.ended.append((name, step, path.name))

    def losses(self):
        return {step: metrics["loss"] for step, metrics in self.steps.items()}


def settings(base, model, **changes):
    return make_config(
        **{
            "run_dir": str(base / "run"),
            "mixing__max_in_flight": 3,
            "opsd__num_generations": 2,
            "opsd__topk": TOPK,
            "opsd__max_new_tokens": LONGEST,
            "opsd__seed": 5,
            "policy__model_name": str(model),
            "policy__precision": "float32",
            "policy__train_global_batch_size": BATCH,
            "policy__train_micro_batch_size": 2,
            "policy__optimizer": {"name": "torch.optim.AdamW", "kwargs": {"lr": LR, "weight_decay": 0.1}},
            "sft__max_num_steps": STEPS,
            "sft__seed": 3,
            "checkpointing__save_period": 2,
            **changes,
        }
    )


def run(base, model, method="opsd", directory="a", recorder=None, stop=None, **changes):
    path = None
    if method == "mixsd_kl":
        path = base / "targets.jsonl"
        write_jsonl(path, TARGETS)
    runner = CallbackRunner([_Entry("recorder", True, recorder)]) if recorder else None
    source = DistillSource(Method(method), PROMPTS, path)
    config = settings(base, model, **changes)
    return train_distill(config, method, str(model), source, base / directory, runner, stop)


@pytest.fixture
def train(tmp_path, tiny_model_dir):
    return partial(run, tmp_path, tiny_model_dir)


def weights(path):
    return dict(AutoModelForCausalLM.from_pretrained(path).named_parameters())


def same(left, right):
    left, right = weights(left), weights(right)
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@torch.no_grad()
def say(model, prompt, attempt, greedy):
    """One response, token by token, each from the whole sequence before it."""
    out = []
    while len(out) < LONGEST and EOS not in out:
        logits = model(torch.tensor([[*prompt.naive_ids, *out]])).logits[0, -1].numpy().astype(np.float64)
        noise = 0 if greedy else gumbel(5, prompt.example_id, attempt, len(out), len(logits))
        out.append(int(np.argmax(logits + noise)))
    return tuple(out)


def log_probs(model, prompt, response):
    """``[R, V]`` after each prefix of the response."""
    logits = model(torch.tensor([[*prompt, *response]])).logits[0]
    return logits[len(prompt) - 1 : len(prompt) + len(response) - 1].log_softmax(-1)


def dense(student, teacher, method, k):
    """One value a position from full distributions."""
    if method == "opsd_nll":
        return -student[torch.arange(len(student)), teacher.argmax(-1)]
    likeliest = teacher.argsort(-1, descending=True)[:, :k]
    p, q = (x.gather(-1, likeliest).double() for x in (teacher, student))
    p, q = (x - x.exp().sum(-1, keepdim=True).log() for x in (p, q))
    return (p.exp() * (p - q)).sum(-1)


def plain_loop(path, method="opsd", kind="base", decay=0.99, k=TOPK, skip=0):
    """The losses of each step, one response at a time, the teacher's full distribution in view."""
    student, teacher = (AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32) for _ in range(2))
    optimizer = torch.optim.AdamW(student.parameters(), lr=LR, weight_decay=0.1)
    by_id = {prompt.example_id: prompt for prompt in PROMPTS}
    n = {"opsd": 2, "opsd_nll": 1, "mixsd_kl": 1}[method]
    order = data_order(len(TARGETS) if method == "mixsd_kl" else len(PROMPTS), STEPS * BATCH // n, 3)
    losses, norms, said = [], [], []
    for step in range(STEPS):
        batch = []
        for place in range(step * BATCH, (step + 1) * BATCH):
            if method == "mixsd_kl":
                chosen = TARGETS[order[place]]
                batch.append((by_id[chosen.example_id], chosen.token_ids))
            else:
                prompt = PROMPTS[order[place // n]]
                batch.append((prompt, say(student, prompt, place + 1, method == "opsd_nll")))
        values = []
        for prompt, response in batch:
            with torch.no_grad():
                wise = log_probs(student if kind == "live" else teacher, prompt.expert_ids, response)
            values.append(dense(log_probs(student, prompt.naive_ids, response), wise, method, k)[skip:])
        loss = torch.cat(values).sum() / max(1, sum(map(len, values)))
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)))
        optimizer.param_groups[0]["lr"] = LR * (0.05 + 0.95 * step / 20)
        optimizer.step()
        if kind == "ema":
            with torch.no_grad():
                for mine, other in zip(teacher.parameters(), student.parameters(), strict=True):
                    mine.mul_(decay).add_((1 - decay) * other)
        losses.append(loss.item())
        said.append(batch)
    return losses, norms, said, student


@pytest.mark.parametrize(
    ("method", "kind", "changes", "dense_changes"),
    [
        ("opsd", "base", {}, {}),
        ("opsd", "live", {}, {}),
        ("opsd", "ema", {"opsd__ema_decay": 0.5}, {"decay": 0.5}),
        ("opsd", "base", {"opsd__skip_first_tokens": 2}, {"skip": 2}),
        ("opsd_nll", "base", {}, {}),
        ("mixsd_kl", "base", {}, {}),
        ("mixsd_kl", "base", {"opsd__topk": VOCABULARY}, {"k": VOCABULARY}),
    ],
)
def test_steps_are_those_of_a_plain_loop(train, tiny_model_dir, method, kind, changes, dense_changes):
    recorder = Recorder()
    result = train(method, recorder=recorder, opsd__teacher=kind, **changes)
    losses, norms, said, student = plain_loop(tiny_model_dir, method, kind, **dense_changes)
    assert list(recorder.losses().values()) == pytest.approx(losses, rel=1e-4)
    assert [recorder.steps[s]["grad_norm"] for s in range(1, STEPS + 1)] == pytest.approx(norms, rel=1e-3)
    # AdamW turns rounding of a vanishing gradient into a step, so weights are compared as a whole
    trained, before, wanted = weights(result.path), weights(tiny_model_dir), dict(student.named_parameters())
    off = sum((trained[k] - wanted[k]).square().sum() for k in wanted).sqrt()
    moved = sum((before[k] - wanted[k]).square().sum() for k in wanted).sqrt()
    assert moved > 0.1 and off < 0.01 * moved
    assert (recorder.saved, recorder.ended) == ([2, 4], [(method, 4, "step_4")])
    cost = read_json(result.path.parent / "complete.json")["cost"]
    answers = [pair for batch in said for pair in batch]
    assert cost["generated_tokens"] == (0 if method == "mixsd_kl" else sum(len(r) for _, r in answers))
    assert cost["trained_tokens"] == sum(len(p.naive_ids) + len(r) for p, r in answers)
    assert cost["teacher_tokens"] == sum(len(p.expert_ids) + len(r) for p, r in answers)


def test_exact_kl_with_the_whole_vocabulary(train, tiny_model_dir):
    """KL(teacher ‖ student) of torch itself, over the first batch of targets."""
    recorder = Recorder()
    train("mixsd_kl", recorder=recorder, opsd__topk=VOCABULARY, sft__max_num_steps=1)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    by_id = {prompt.example_id: prompt for prompt in PROMPTS}
    total, count = 0.0, 0
    for i in data_order(len(TARGETS), BATCH, 3):
        chosen = TARGETS[i]
        prompt = by_id[chosen.example_id]
        with torch.no_grad():
            naive = log_probs(model, prompt.naive_ids, chosen.token_ids)
            wise = log_probs(model, prompt.expert_ids, chosen.token_ids)
        total += float(torch.nn.functional.kl_div(naive, wise, reduction="sum", log_target=True))
        count += len(chosen.token_ids)
    assert recorder.losses() == {1: pytest.approx(total / count, rel=1e-5)}


def test_a_teacher_that_knows_no_more_has_nothing_to_teach(tmp_path, tiny_model_dir, monkeypatch):
    blind = [TeacherPrompt(p.example_id, p.naive_ids, p.naive_ids) for p in PROMPTS]
    monkeypatch.setitem(globals(), "PROMPTS", blind)
    recorder = Recorder()
    run(tmp_path, tiny_model_dir, recorder=recorder, opsd__teacher="live")
    assert max(map(abs, recorder.losses().values())) < 1e-6


def test_rollouts_do_not_depend_on_the_batch(tiny_model_dir):
    from nemo_mixsd.mixing.engines.base import Sampling
    from nemo_mixsd.training.rollouts import Draw

    model = load_model(str(tiny_model_dir), "float32", "cpu")
    draws = [Draw(prompt, i) for prompt in PROMPTS for i in (1, 2)]
    speakers = [Speaker(frozenset({EOS}), Sampling(1.0, None, 7), LONGEST, 12, flight) for flight in (1, 3, 64)]
    first, *others = ([s.token_ids for s in speaker.answer(model, draws)] for speaker in speakers)
    assert all(other == first for other in others)
    assert len(set(first)) > len(PROMPTS)  # two samples of a prompt differ
    assert [len(s) <= 12 - max(len(d.prompt.naive_ids), len(d.prompt.expert_ids)) for s, d in zip(first, draws)]
    assert max(map(len, first)) <= LONGEST


@pytest.mark.parametrize("kind", ["base", "live", "ema"])
@pytest.mark.parametrize("fail", [("step", 1), ("step", 3), ("saved", 4)])
def test_a_run_that_was_cut_off_takes_the_same_steps(train, tmp_path, kind, fail):
    whole, cut, after = Recorder(), Recorder(fail), Recorder()
    changes = {"opsd__teacher": kind, "opsd__ema_decay": 0.5}
    expected = train(recorder=whole, **changes)
    with pytest.raises(RuntimeError, match="stop here"):
        train(directory="cut", recorder=cut, **changes)
    assert finished(tmp_path / "cut") is None
    result = train(directory="cut", recorder=after, **changes)
    heard = cut.losses() | after.losses()
    assert heard == whole.losses()
    assert min(after.losses(), default=5) == {("step", 1): 1, ("step", 3): 3, ("saved", 4): 5}[fail]
    assert same(result.path, expected.path)
    costs = [read_json(r.path.parent / "complete.json")["cost"] for r in (result, expected)]
    assert {k: v for k, v in costs[0].items() if k != "seconds"} == {
        k: v for k, v in costs[1].items() if k != "seconds"
    }
    names = {p.name for step in step_directories(tmp_path / "cut").values() for p in step.iterdir()}
    assert not names & {"teacher.safetensors", "cost.json", "optimizer.pt"}


def test_other_seeds_say_other_things(train):
    one, two = Recorder(), Recorder()
    train(recorder=one)
    train(directory="b", recorder=two, opsd__seed=6)
    assert one.losses()[1] != two.losses()[1]


def test_micro_batches_change_nothing(train):
    recorders = [Recorder() for _ in range(3)]
    for micro, recorder in zip((1, 2, 4), recorders, strict=True):
        train(directory=f"m{micro}", recorder=recorder, policy__train_micro_batch_size=micro)
    for other in recorders[1:]:
        assert list(other.losses().values()) == pytest.approx(list(recorders[0].losses().values()), rel=1e-4)


def test_bfloat16_answers_and_learns(train):
    recorder = Recorder()
    result = train(recorder=recorder, policy__precision="bfloat16", opsd__teacher="live")
    assert all(math.isfinite(loss) and loss > 0 for loss in recorder.losses().values())
    assert {p.dtype for p in weights(result.path).values()} == {torch.float32}


def test_a_response_shorter_than_what_is_skipped_is_no_loss(train):
    recorder = Recorder()
    train(recorder=recorder, opsd__skip_first_tokens=LONGEST)
    assert set(recorder.losses().values()) == {0.0}


def test_stops_when_the_student_is_good_enough(train):
    asked = []

    def reached(model):
        asked.append(model.training)
        return len(asked) == 2

    assert train(stop=StopRule(1, reached)).step == 2
    assert asked == [False, False]


def test_labels_are_the_response_without_its_first_tokens():
    batch = collate_samples([Sample(PROMPTS[0], (20, 21, EOS)), Sample(PROMPTS[4], (30,))], pad_id=0, skip=1)
    assert batch["input_ids"].tolist() == [[2, 10, 3, 20, 21, EOS], [15, 30, 0, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1] * 6, [1, 1, 0, 0, 0, 0]]
    assert batch["labels"].tolist() == [[-100] * 4 + [21, EOS], [-100] * 6]


@pytest.mark.parametrize(
    ("method", "changes", "text"),
    [
        ("opsd", {"opsd__topk": VOCABULARY + 1}, rf"opsd\.topk={VOCABULARY + 1} is more than the {VOCABULARY} tokens"),
        ("mixsd_kl", {"opsd__topk": 1000}, r"opsd\.topk=1000 is more than"),
        ("opsd", {"opsd__num_generations": 3}, r"opsd\.num_generations=3 does not divide"),
        ("opsd", {"opsd__prompts_per_step": 4}, r"opsd\.prompts_per_step=4 is 2 optimizer steps .* only NeMo-RL"),
    ],
)
def test_refused_before_a_model_is_loaded(train, monkeypatch, method, changes, text):
    def loaded(*args, **kwargs):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(distill.models, "load_model", loaded)
    with pytest.raises(ConfigError, match=text):
        train(method, **changes)


def test_targets_that_fit_no_expert_prompt(train, caplog):
    recorder = Recorder()
    train("mixsd_kl", recorder=recorder, mixing__max_total_tokens=12)
    assert "1 of 4 targets are longer than 12 tokens behind their expert prompt" in caplog.text
    assert len(recorder.steps) == STEPS
    with pytest.raises(BackendError, match="has no target that fits 3 tokens behind its expert prompt"):
        train("mixsd_kl", directory="b", mixing__max_total_tokens=3)
