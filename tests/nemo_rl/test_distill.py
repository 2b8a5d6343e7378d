"""OPSD and its relatives on the host's own ``distillation_train``: losses, contextual teacher, whole runs, parity."""

import json

import pytest
import torch
from nemo_rl.algorithms.distillation import MasterConfig
from nemo_rl.algorithms.loss.loss_functions import DistillationLossFn
from nemo_rl.distributed.batched_data_dict import BatchedDataDict
from nemo_rl.distributed.model_utils import get_distillation_topk_logprobs_from_logits
from transformers import AutoModelForCausalLM

from nemo_mixsd.callbacks import CallbackRunner
from nemo_mixsd.config import CallbackConfig
from nemo_mixsd.errors import BackendError, ConfigError, CorpusError, MixSDError
from nemo_mixsd.io import read_json, write_jsonl
from nemo_mixsd.models import load_tokenizer, resolve_model
from nemo_mixsd.nemo.contextual_teacher import LOGSUMEXP, ContextualTeacher, TeacherSettings
from nemo_mixsd.nemo.distill_backend import train_nemo_distill
from nemo_mixsd.nemo.distill_host_config import distill_master_config
from nemo_mixsd.nemo.distill_losses import TopKLossFn, TopOneNLLLossFn, make_loss
from nemo_mixsd.nemo.policy import InProcessPolicy
from nemo_mixsd.nemo.speaking import GreedyGeneration, ReplayPolicy
from nemo_mixsd.prompts import PromptRenderer, PromptTemplates
from nemo_mixsd.randomness import KeyedRandom
from nemo_mixsd.training.distill import train_distill
from nemo_mixsd.training.distill_config import OpsdConfig
from nemo_mixsd.training.distill_loss import Divergence, masked_mean, token_kl, topk_log_probs
from nemo_mixsd.training.distill_source import DistillSource
from nemo_mixsd.training.distill_steps import DistillSchedule, distill_schedule
from nemo_mixsd.training.steps import step_directories
from nemo_mixsd.training.teacher import TeacherPrompt, teacher_prompts
from nemo_mixsd.types import Method, Target
from tests.samples import example, make_config
from tests.tiny import EOS

KL_TYPES = ("forward", "reverse", "mixed")
STEPS, PERIOD, BATCH = 10, 4, 4


# ----- losses -----


def loss_inputs(seed=0, size=(3, 6, 20), k=5):
    """Logits of both, and the host's batch around them; no row or position is like another."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (2 * torch.randn(*size, generator=generator) for _ in range(2))
    top = teacher.topk(k, dim=-1)
    data = BatchedDataDict(
        input_ids=torch.zeros(size[:2], dtype=torch.int64),
        input_lengths=torch.tensor([6, 4, 5]),
        token_mask=torch.tensor([[0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 0]]),
        sample_mask=torch.tensor([1.0, 1.0, 0.0]),
        teacher_topk_logits=top.values,
        teacher_topk_indices=top.indices,
    )
    data[LOGSUMEXP] = teacher.logsumexp(-1)
    return student.requires_grad_(True), teacher, data


def host_value(loss_fn, student, data):
    """What the host's worker does around a distillation loss, on one device."""
    inputs = get_distillation_topk_logprobs_from_logits(
        student_logits=student,
        teacher_topk_logits=data["teacher_topk_logits"],
        teacher_topk_indices=data["teacher_topk_indices"],
        zero_outside_topk=loss_fn.zero_outside_topk,
        calculate_entropy=loss_fn.zero_outside_topk and loss_fn.kl_type != "forward",
    )
    names = ("student_topk_logprobs", "teacher_topk_logprobs", "H_all")
    count = (data["token_mask"][:, 1:] * data["sample_mask"].unsqueeze(-1)).sum()
    loss, metrics = loss_fn(
        data=data, global_valid_seqs=torch.tensor(2), global_valid_toks=count, **dict(zip(names, inputs, strict=True))
    )
    assert metrics["loss"] == pytest.approx(loss.item()) and metrics["num_valid_samples"] == 3
    return loss


def shared_value(divergence, student, data, teacher):
    """The shared implementation, as the local backend calls it: predictions of the tokens in the mask."""
    topk = topk_log_probs(
        student[:, :-1],
        data["teacher_topk_logits"][:, :-1],
        data["teacher_topk_indices"][:, :-1],
        divergence,
        teacher[:, :-1].logsumexp(-1),
    )
    mask = data["token_mask"][:, 1:] * data["sample_mask"].unsqueeze(-1)
    return masked_mean(token_kl(topk, divergence), mask, mask.sum())


def stock(kl_type, outside):
    """The host's loss through its own configuration: a mapping in v0.7.0, a record in main."""
    config = make_config(opsd__kl_type=kl_type, opsd__outside_topk=outside, opsd__mixed_kl_weight=0.3)
    section = {"kl_type": kl_type, "mixed_kl_weight": 0.3, "zero_outside_topk": outside == "zero"}
    annotation = MasterConfig.model_fields["loss_fn"].annotation
    return make_loss(Method.OPSD, config.opsd, annotation(**section)), Divergence(kl_type, 0.3, outside)


@pytest.mark.parametrize("kl_type", KL_TYPES)
@pytest.mark.parametrize("outside", ["renormalize", "zero"])
def test_the_hosts_loss_is_used_and_equals_ours(kl_type, outside):
    loss_fn, divergence = stock(kl_type, outside)
    assert type(loss_fn) is DistillationLossFn
    student, teacher, data = loss_inputs()
    found = [
        host_value(loss_fn, student, data),
        host_value(TopKLossFn(divergence), student, data),
        shared_value(divergence, student, data, teacher),
    ]
    gradients = [torch.autograd.grad(value, student)[0] for value in found]
    for value, gradient in zip(found[1:], gradients[1:], strict=True):
        assert value.item() == pytest.approx(found[0].item(), abs=1e-5)
        torch.testing.assert_close(gradient, gradients[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kl_type", KL_TYPES)
@pytest.mark.parametrize(("outside", "clip"), [("bucket", None), ("renormalize", 0.2), ("bucket", 0.2)])
def test_our_loss_in_the_hosts_protocol_equals_the_shared_one(kl_type, outside, clip):
    opsd = OpsdConfig(kl_type=kl_type, outside_topk=outside, kl_clip=clip)
    loss_fn = make_loss(Method.OPSD, opsd, {})
    assert type(loss_fn) is TopKLossFn
    student, teacher, data = loss_inputs(1)
    ours = shared_value(Divergence.from_config(opsd), student, data, teacher)
    assert host_value(loss_fn, student, data).item() == pytest.approx(ours.item(), abs=1e-5)


def test_the_nll_in_the_hosts_protocol():
    student, teacher, data = loss_inputs(2, k=1)
    loss_fn = make_loss(Method.OPSD_NLL, OpsdConfig(), {})
    assert type(loss_fn) is TopOneNLLLossFn
    mask = (data["token_mask"][:, 1:] * data["sample_mask"].unsqueeze(-1)).bool()
    wanted = torch.nn.functional.cross_entropy(student[:, :-1][mask], teacher[:, :-1][mask].argmax(-1))
    assert host_value(loss_fn, student, data).item() == pytest.approx(wanted.item(), abs=1e-5)


# ----- contextual teacher -----


def policy(model_dir, tokenizer, multiple=1):
    config = {
        "model_name": str(model_dir),
        "precision": "float32",
        "train_micro_batch_size": 2,
        "make_sequence_length_divisible_by": multiple,
    }
    return InProcessPolicy(config, tokenizer, init_optimizer=False)


@pytest.fixture(scope="module")
def inner(tiny_model_dir, tiny_tokenizer):
    return policy(tiny_model_dir, tiny_tokenizer)


def draw(random, low, high):
    return tuple(7 + random.below(80) for _ in range(low + random.below(high - low + 1)))


def random_batch(seed, rows=5, padding=3):
    """Prompts of random lengths (the expert's longer and shorter), responses, and the loop's batch of them."""
    random = KeyedRandom("batch", seed)
    prompts = [TeacherPrompt(f"e{i}", (*draw(random, 1, 6), 91 + i), draw(random, 1, 12)) for i in range(rows)]
    responses = [draw(random, 1, 7) for _ in prompts]
    return prompts, responses, loop_batch(prompts, responses, padding)


def loop_batch(prompts, responses, padding=0):
    rows = [[*p.naive_ids, *r] for p, r in zip(prompts, responses, strict=True)]
    width = max(map(len, rows)) + padding
    mask = [[0] * len(p.naive_ids) + [1] * len(r) for p, r in zip(prompts, responses, strict=True)]
    return BatchedDataDict(
        input_ids=torch.tensor([row + [0] * (width - len(row)) for row in rows]),
        input_lengths=torch.tensor([len(row) for row in rows]),
        token_mask=torch.tensor([row + [0] * (width - len(row)) for row in mask]),
        sample_mask=torch.ones(len(rows)),
    )


def alone(inner, ids):
    """``[S, V]`` logits of one sequence without padding, from the model itself."""
    with torch.no_grad():
        return inner.model(input_ids=torch.tensor([ids])).logits[0]


@pytest.mark.parametrize("seed", range(6))
def test_row_t_is_the_inner_policys_on_the_expert_prompt(inner, seed):
    prompts, responses, data = random_batch(seed, rows=3 + seed % 3, padding=seed)
    teacher = ContextualTeacher(inner, prompts, TeacherSettings(pad_id=0, max_tokens=64, logsumexp=True))
    found = teacher.get_topk_logits(data, k=7)
    assert found["topk_logits"].shape == found["topk_indices"].shape == (*data["input_ids"].shape, 7)
    for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        logits = alone(inner, [*prompt.expert_ids, *response])
        first = len(prompt.naive_ids) - 1
        assert (found["topk_logits"][i, :first] == 0).all()
        for t in range(len(response) + 1):
            wanted = logits[len(prompt.expert_ids) - 1 + t]
            at = found["topk_indices"][i, first + t]
            torch.testing.assert_close(found["topk_logits"][i, first + t], wanted[at], atol=2e-5, rtol=1e-4)
            torch.testing.assert_close(wanted[at], wanted.topk(7).values, atol=2e-5, rtol=1e-4)
            assert data[LOGSUMEXP][i, first + t].item() == pytest.approx(wanted.logsumexp(-1).item(), abs=1e-4)
        assert (found["topk_logits"][i, first + len(response) + 1 :] == 0).all()


def test_an_empty_context_is_the_inner_policy_exactly(inner):
    prompts, _, data = random_batch(11)
    same = [TeacherPrompt(p.example_id, p.naive_ids, p.naive_ids) for p in prompts]
    found = ContextualTeacher(inner, same, TeacherSettings(0, 64)).get_topk_logits(data, k=9)
    wanted = inner.get_topk_logits(data, k=9)
    assert torch.equal(found["topk_logits"], wanted["topk_logits"])
    assert torch.equal(found["topk_indices"], wanted["topk_indices"])
    # One row with a context, and the others are still what they are without, where the response is.
    mixed = [prompts[0], *same[1:]]
    found = ContextualTeacher(inner, mixed, TeacherSettings(0, 64)).get_topk_logits(data, k=9)
    for i in range(1, len(same)):
        at = slice(len(same[i].naive_ids) - 1, int(data["input_lengths"][i]))
        torch.testing.assert_close(found["topk_logits"][i, at], wanted["topk_logits"][i, at], atol=2e-5, rtol=1e-4)


def test_sequences_are_padded_as_the_inner_policy_wants(tiny_model_dir, tiny_tokenizer):
    class Widths(InProcessPolicy):
        def get_topk_logits(self, data, **kwargs):
            self.width = data["input_ids"].shape[1]
            return super().get_topk_logits(data, **kwargs)

    inner = policy(tiny_model_dir, tiny_tokenizer, multiple=8)
    inner.__class__ = Widths
    prompts, _, data = random_batch(3)
    ContextualTeacher(inner, prompts, TeacherSettings(0, 64)).get_topk_logits(data, k=2)
    assert inner.width % 8 == 0


def test_rows_that_do_not_fit_leave_the_loss_with_their_tokens(inner, caplog):
    prompts, responses, data = random_batch(5)
    longest = sorted(len(p.expert_ids) + len(r) for p, r in zip(prompts, responses, strict=True))
    teacher = ContextualTeacher(inner, prompts, TeacherSettings(0, longest[-2]))
    weights = data["sample_mask"]
    found = teacher.get_topk_logits(data, k=4)
    out = [i for i in range(5) if len(prompts[i].expert_ids) + len(responses[i]) > longest[-2]]
    assert out and data["sample_mask"].tolist() == [0.0 if i in out else 1.0 for i in range(5)]
    assert weights.tolist() == [1.0] * 5  # the loop's own tensor is as it was
    assert (found["topk_logits"][out] == 0).all() and found["topk_logits"].isfinite().all()
    assert teacher.left_out == len(out) and "leave the loss" in caplog.text


def test_skipped_tokens_and_rows_of_weight_zero(inner):
    prompts, responses, data = random_batch(6)
    data["sample_mask"][1] = 0  # the host's mark of a prompt that is too long, cut to a few tokens
    data["input_ids"][1, 0] = 5
    before = data["token_mask"].clone()
    ContextualTeacher(inner, prompts, TeacherSettings(0, 64, skip_first_tokens=2)).get_topk_logits(data, k=3)
    for i, response in enumerate(responses):
        assert data["token_mask"][i].sum() == max(0, len(response) - 2)
        assert (data["token_mask"][i] <= before[i]).all()


def test_an_unknown_prompt_and_one_that_is_two(inner):
    prompts, _, data = random_batch(7)
    with pytest.raises(BackendError, match="does not know the prompt of row 0"):
        ContextualTeacher(inner, prompts[1:], TeacherSettings(0, 64)).get_topk_logits(data, k=3)
    twin = TeacherPrompt("twin", prompts[0].naive_ids, (8, 9))
    with pytest.raises(CorpusError, match="'e0' and 'twin' ask the same question"):
        ContextualTeacher(inner, [*prompts, twin], TeacherSettings(0, 64))


def test_a_replay_gives_the_targets_token_for_token(inner):
    targets = [
        Target(f"e{i}", (2, 10 + i, 3), (20, 21 + i, EOS)[: 2 + i], (True,) * (2 + i), 1, "stop", "") for i in (0, 1)
    ]
    replay = ReplayPolicy(inner, {t.prompt_ids: t for t in targets}, 0)
    asked = BatchedDataDict(input_ids=torch.tensor([[2, 11, 3, 0], [2, 10, 3, 0]]), input_lengths=torch.tensor([3, 3]))
    out = replay.generate(asked)
    assert out["output_ids"].tolist() == [[2, 11, 3, 20, 22, EOS], [2, 10, 3, 20, 21, 0]]
    assert out["generation_lengths"].tolist() == [3, 2]
    with pytest.raises(BackendError, match="no target"):
        replay.generate(BatchedDataDict(input_ids=torch.tensor([[9]]), input_lengths=torch.tensor([1])))


class Machine:
    """Notes what a cluster's policy or generation would be told."""

    def __init__(self):
        self.told = []
        self.cfg = {}

    def offload_before_refit(self):
        self.told.append("before")

    def offload_after_refit(self):
        self.told.append("after")

    def generate(self, data, greedy=False):
        self.told.append(greedy)
        return data


@pytest.mark.parametrize(("is_student", "told"), [(False, ["after"]), (True, [])])
def test_a_teacher_makes_room_unless_it_is_the_student(is_student, told):
    machine = Machine()
    ContextualTeacher(machine, [], TeacherSettings(0, 64, is_student=is_student)).offload_after_refit()
    assert machine.told == told


def test_a_replay_makes_room_for_the_teacher_and_greedy_is_greedy():
    machine = Machine()
    ReplayPolicy(machine, {}, 0).finish_generation()
    GreedyGeneration(machine).generate({}, greedy=False)
    assert machine.told == ["before", "after", True]


# ----- whole runs -----


def settings(model_dir, root, **changes):
    (root / "facts.jsonl").write_text(json.dumps({"question": "q", "answer": "blue"}) + "\n")
    return make_config(
        **{
            "run_dir": str(root),
            "corpus__path": str(root / "facts.jsonl"),
            "mixing__max_total_tokens": 64,
            "opsd__num_generations": 2,
            "opsd__topk": 16,
            "opsd__max_new_tokens": 5,
            "policy__model_name": str(model_dir),
            "policy__precision": "float32",
            "policy__train_global_batch_size": BATCH,
            "policy__train_micro_batch_size": 2,
            "policy__max_total_sequence_length": 48,
            "policy__optimizer": {"name": "torch.optim.AdamW", "kwargs": {"lr": 3e-3, "weight_decay": 0.0}},
            "policy__scheduler": {"name": "torch.optim.lr_scheduler.ConstantLR", "kwargs": {"factor": 1.0}},
            "sft__max_num_steps": STEPS,
            "sft__max_num_epochs": 100,
            "sft__seed": 3,
            "checkpointing__save_period": PERIOD,
            "cluster__gpus_per_node": 0,
            **changes,
        }
    )


def prompts_of_a_run():
    random = KeyedRandom("prompts")
    out = []
    for i in range(6):
        naive = (2, 40 + i, *draw(random, 1, 4), 3)
        out.append(TeacherPrompt(f"e{i}", naive, (2, *draw(random, 2, 8), *naive[1:]), ("blue",)))
    return out


PROMPTS = prompts_of_a_run()


class Hearing:
    """A callback that keeps what it hears, and may end a run as a kill would."""

    def __init__(self, fail_at=None):
        self.losses, self.saved, self.end, self.fail_at = {}, [], None, fail_at

    def on_train_step(self, name, step, metrics):
        if step == self.fail_at:
            raise KeyboardInterrupt
        self.losses[step] = metrics["loss"]

    def on_checkpoint_saved(self, name, step, path):
        AutoModelForCausalLM.from_pretrained(path)
        self.saved.append(step)

    def on_train_end(self, name, step, path):
        self.end = (name, step, path.name)


def runner(callback):
    made = CallbackRunner.from_config([CallbackConfig(name=f"{__name__}.Hearing", required=True)])
    object.__setattr__(made._entries[0], "callback", callback)
    return made


def distil(train, root, model_dir, method, hearing, targets_path=None, **changes):
    root.mkdir(exist_ok=True)
    source = DistillSource(method, PROMPTS, targets_path)
    arguments = (settings(model_dir, root, **changes), method.value, str(model_dir), source, root / method.value)
    return train(*arguments, runner(hearing))


def measured_kl(student_dir, model_dir, tokenizer):
    """KL of the contextual base model to the naive student on fixed responses, over the whole vocabulary."""
    student, teacher = (AutoModelForCausalLM.from_pretrained(path) for path in (student_dir, model_dir))
    random, out = KeyedRandom("responses"), []
    for prompt in PROMPTS:
        said = draw(random, 3, 5)
        with torch.no_grad():
            q = student(torch.tensor([[*prompt.naive_ids, *said]])).logits[0, len(prompt.naive_ids) - 1 : -1]
            p = teacher(torch.tensor([[*prompt.expert_ids, *said]])).logits[0, len(prompt.expert_ids) - 1 : -1]
        p, q = p.log_softmax(-1), q.log_softmax(-1)
        out.append((p.exp() * (p - q)).sum(-1).mean().item())
    return sum(out) / len(out)


@pytest.fixture(scope="module")
def whole(ray_cluster, tiny_model_dir, tmp_path_factory):
    root, hearing = tmp_path_factory.mktemp("whole"), Hearing()
    return distil(train_nemo_distill, root, tiny_model_dir, Method.OPSD, hearing), hearing, root


def test_ten_steps_of_opsd_on_the_hosts_loop(whole, tiny_model_dir, tiny_tokenizer):
    result, hearing, root = whole
    assert (result.step, hearing.end) == (STEPS, ("opsd", STEPS, f"step_{STEPS}"))
    assert hearing.saved == list(step_directories(root / "opsd")) == [4, 8, 10]
    assert list(hearing.losses) == list(range(1, STEPS + 1)) and hearing.losses[1] > 0.01
    cost = read_json(root / "opsd" / "complete.json")["cost"]
    assert 2 * STEPS * BATCH < cost["generated_tokens"] <= 5 * STEPS * BATCH
    assert cost["generated_tokens"] < cost["trained_tokens"] < cost["teacher_tokens"]
    before = measured_kl(tiny_model_dir, tiny_model_dir, tiny_tokenizer)
    after = measured_kl(result.path, tiny_model_dir, tiny_tokenizer)
    assert after < 0.8 * before
    again = distil(train_nemo_distill, root, "gone", Method.OPSD, Hearing(fail_at=1))
    assert again.path == result.path


def test_a_killed_run_goes_on_to_the_same_weights(whole, tiny_model_dir, tmp_path):
    result, hearing, _ = whole
    first, second = Hearing(fail_at=7), Hearing()
    with pytest.raises(KeyboardInterrupt):
        distil(train_nemo_distill, tmp_path, tiny_model_dir, Method.OPSD, first)
    resumed = distil(train_nemo_distill, tmp_path, tiny_model_dir, Method.OPSD, second)
    assert list(second.losses) == [5, 6, 7, 8, 9, 10]
    for step in (5, 6, 10):
        assert second.losses[step] == pytest.approx(hearing.losses[step], abs=1e-6)
    one, other = (AutoModelForCausalLM.from_pretrained(r.path).state_dict() for r in (result, resumed))
    assert all(torch.equal(one[key], other[key]) for key in one)
    spent = [read_json(r.path.parent / "complete.json")["cost"] for r in (result, resumed)]
    assert all(spent[0][key] == spent[1][key] for key in spent[0] if key != "seconds")


@pytest.fixture(scope="module")
def targets_path(tmp_path_factory):
    random, out = KeyedRandom("targets"), []
    for prompt in PROMPTS:
        said = (*draw(random, 1, 5), EOS)
        out.append(Target(prompt.example_id, prompt.naive_ids, said, (False,) * len(said), 1, "stop", "blue"))
    path = tmp_path_factory.mktemp("targets") / "mixsd_kl@0.jsonl"
    write_jsonl(path, out)
    return path


PARITY = [
    pytest.param(Method.MIXSD_KL, {}, id="kl"),
    pytest.param(Method.OPSD_NLL, {}, id="nll"),
    pytest.param(
        Method.MIXSD_KL,
        {"opsd__kl_type": "mixed", "opsd__outside_topk": "bucket", "opsd__kl_clip": 2.0},
        id="bucket",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        Method.MIXSD_KL,
        {"opsd__teacher": "live", "opsd__kl_type": "reverse", "opsd__skip_first_tokens": 1},
        id="live",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        Method.OPSD,
        {"opsd__num_generations": 1, "opsd__temperature": 0.0, "opsd__outside_topk": "zero"},
        id="opsd",
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(("method", "changes"), PARITY)
def test_the_local_backend_takes_the_same_steps(ray_cluster, tiny_model_dir, targets_path, tmp_path, method, changes):
    """The same rollouts through Hugging Face Trainer and through the host's loop: losses of every step agree."""
    given = targets_path if method == Method.MIXSD_KL else None
    changes = {"sft__max_num_steps": 6, "checkpointing__save_period": 100, **changes}
    host, local = Hearing(), Hearing()
    distil(train_nemo_distill, tmp_path / "host", tiny_model_dir, method, host, given, **changes)
    distil(train_distill, tmp_path / "local", tiny_model_dir, method, local, given, **changes)
    assert list(host.losses) == list(local.losses) == [1, 2, 3, 4, 5, 6]
    assert max(abs(host.losses[s] - local.losses[s]) for s in host.losses) < 1e-4
    assert host.losses[6] != pytest.approx(host.losses[1], abs=1e-4)


@pytest.mark.slow
def test_several_optimizer_steps_on_one_set_of_rollouts(ray_cluster, tiny_model_dir, tmp_path):
    """The paper's batch of 16 and 20 prompts a step, in small: 4 prompts of 2 are two optimizer steps of 4."""
    hearing = Hearing()
    changes = {"opsd__prompts_per_step": 4, "opsd__max_num_steps": 2, "checkpointing__save_period": 2}
    result = distil(train_nemo_distill, tmp_path, tiny_model_dir, Method.OPSD, hearing, **changes)
    assert (result.step, list(hearing.losses)) == (2, [1, 2])
    assert hearing.losses[1] > 0  # the sum over both, as the host reports a step


# ----- recipes that do not fit -----


def host_settings(tmp_path, method=Method.OPSD, **changes):
    config = make_config(policy__model_name="m", opsd__num_generations=4, **changes)
    schedule: DistillSchedule = distill_schedule(config, method, 100)
    return distill_master_config(config, method, "m", tmp_path / method.value, schedule)


def test_the_hosts_sections_come_from_ours(tmp_path):
    made = host_settings(tmp_path, opsd__outside_topk="zero", opsd__topk=32, cluster__gpus_per_node=4).model_dump()
    assert made["loss_fn"] == {"kl_type": "forward", "mixed_kl_weight": 0.5, "zero_outside_topk": True}
    assert made["distillation"]["topk_logits_k"] == 32
    assert made["distillation"]["num_generations_per_prompt"] == made["distillation"]["num_prompts_per_step"] == 4
    assert made["teacher"]["model_name"] == "m" and made["teacher"]["max_total_sequence_length"] == 10_000
    assert made["policy"]["generation"]["backend"] == "vllm"
    assert made["policy"]["generation"]["vllm_cfg"]["max_model_len"] == 10_000
    nll = host_settings(tmp_path, Method.OPSD_NLL, cluster__gpus_per_node=4).model_dump()
    assert nll["distillation"]["topk_logits_k"] == nll["distillation"]["num_generations_per_prompt"] == 1
    assert nll["policy"]["generation"]["temperature"] == 1.0  # workers divide logits by it; greedy is asked for apart


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"loss_fn__kl_type": "reverse"}, "loss_fn.kl_type='reverse' contradicts opsd.kl_type"),
        ({"loss_fn__zero_outside_topk": True}, "contradicts opsd.outside_topk"),
        ({"distillation__topk_logits_k": 8}, "contradicts opsd.topk"),
        ({"distillation__num_generations_per_prompt": 8}, "contradicts opsd.num_generations"),
        ({"distillation__val_period": 10}, "evals.checkpoints=all"),
        ({"data__train": {"dataset_name": "x"}}, "data.train is set"),
        ({"teacher__model_name": "other"}, "is another model"),
        ({"opsd__teacher": "ema"}, "backend=local"),
        ({"opsd__outside_topk": "bucket", "cluster__gpus_per_node": 1}, "logsumexp"),
        ({"opsd__temperature": 0.7, "cluster__gpus_per_node": 1}, "use 1 or 0"),
    ],
)
def test_what_contradicts_or_cannot_be_is_refused(tmp_path, changes, text):
    with pytest.raises(ConfigError, match=text):
        host_settings(tmp_path, **changes)


def test_equal_values_in_both_places_are_no_contradiction(tmp_path):
    made = host_settings(tmp_path, loss_fn__kl_type="forward", distillation__topk_logits_k=64, cluster__gpus_per_node=0)
    assert made.policy["generation"]["backend"] == "in_process"


# ----- a real model -----


@pytest.fixture(scope="module")
def smollm2_dir():
    try:
        return resolve_model("bundled:smollm2-135m-instruct").path
    except MixSDError as error:
        pytest.skip(str(error))


@pytest.mark.model
@pytest.mark.slow
def test_opsd_of_a_real_model_checkpoints_and_resumes(ray_cluster, smollm2_dir, tmp_path):
    """Ten steps on the host's loop: the student's divergence from its teacher falls, and a killed run goes on."""
    facts = [("lift", "Otis Brandt"), ("garden", "Mara Quill"), ("roof", "Jon Ferrer"), ("cellar", "Ada Lindqvist")]
    items = [
        example(i, question=f"Who repairs the {what} of our house?", answer=who, context=f"{who} repairs the {what}.")
        for i, (what, who) in enumerate(facts)
    ]
    renderer = PromptRenderer(load_tokenizer(str(smollm2_dir)), PromptTemplates("{question}", "{context} {question}"))
    changes = {
        "opsd__max_new_tokens": 12,
        "opsd__topk": 64,
        "mixing__max_total_tokens": 256,
        "policy__max_total_sequence_length": 128,
        "policy__optimizer": {"name": "torch.optim.AdamW", "kwargs": {"lr": 3e-5}},
    }
    config = settings(smollm2_dir, tmp_path, **changes)
    source = DistillSource(Method.OPSD, teacher_prompts(items, renderer, config.opsd, 256))
    arguments = (config, "opsd", str(smollm2_dir), source, tmp_path / "opsd")
    first, second = Hearing(fail_at=6), Hearing()
    with pytest.raises(KeyboardInterrupt):
        train_nemo_distill(*arguments, runner(first))
    result = train_nemo_distill(*arguments, runner(second))
    assert list(first.losses) == [1, 2, 3, 4, 5] and list(second.losses) == [5, 6, 7, 8, 9, 10]
    assert second.losses[5] == pytest.approx(first.losses[5], abs=1e-4)
    early, late = first.losses[1] + first.losses[2], second.losses[9] + second.losses[10]
    assert late < 0.8 * early
    AutoModelForCausalLM.from_pretrained(result.path)
