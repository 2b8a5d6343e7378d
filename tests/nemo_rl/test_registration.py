"""Registering with the host, and the dataset, processor and environment that a plain recipe of the host then gets."""

import pytest
import torch
from nemo_rl.data.datasets import AllTaskProcessedDataset, load_response_dataset
from nemo_rl.data.datasets.response_datasets import DATASET_REGISTRY
from nemo_rl.data.llm_message_utils import add_loss_mask_to_message_log, batched_message_log_to_flat_message
from nemo_rl.data.processors import PROCESSOR_REGISTRY
from nemo_rl.distributed.batched_data_dict import BatchedDataDict
from nemo_rl.distributed.ray_actor_environment_registry import ACTOR_ENVIRONMENT_REGISTRY, get_actor_python_env
from nemo_rl.environments.utils import ENV_REGISTRY, create_env

from nemo_mixsd.errors import BackendError, ConfigError, CorpusError
from nemo_mixsd.io import write_jsonl
from nemo_mixsd.nemo import names, register
from nemo_mixsd.nemo.environment import VerifierEnvironment
from nemo_mixsd.nemo.processors import mixsd_processor, mixsd_prompt_processor
from nemo_mixsd.types import Example, Target

REGISTRIES = (PROCESSOR_REGISTRY, DATASET_REGISTRY, ENV_REGISTRY, ACTOR_ENVIRONMENT_REGISTRY)
TARGETS = [
    # "sky" is one token, but these ids are what was sampled: an unusual split, without an end of sequence.
    Target("a", (2, 12, 13, 3), (18, 18, 19), (True, False, True), 1, "length", "answer answer blue"),
    Target("b", (2, 7, 3), (19, 1), (False, False), 2, "stop", "blue"),
]
EXAMPLES = [
    Example("a", "q", "blue", "blue", "blue", aliases=("azure",)),
    Example("b", "q", "red", "red", "red"),
]


@pytest.fixture
def files(tmp_path):
    write_jsonl(tmp_path / "targets.jsonl", TARGETS)
    write_jsonl(tmp_path / "train.jsonl", EXAMPLES)
    return {"data_path": str(tmp_path / "targets.jsonl"), "corpus_path": str(tmp_path / "train.jsonl")}


def test_registering_twice_changes_nothing_the_second_time():
    register()
    before = [dict(registry) for registry in REGISTRIES]
    register()
    assert [dict(registry) for registry in REGISTRIES] == before
    assert PROCESSOR_REGISTRY[names.PROCESSOR] is mixsd_processor
    assert ENV_REGISTRY[names.ENVIRONMENT]["actor_class_fqn"] == names.ENVIRONMENT_CLASS
    assert get_actor_python_env(names.ENVIRONMENT_CLASS)


def test_a_name_that_someone_else_took_is_an_error(monkeypatch):
    register()
    monkeypatch.setitem(PROCESSOR_REGISTRY, names.PROCESSOR, print)
    with pytest.raises(BackendError, match=r"'mixsd_processor'.*not ours"):
        register()


@pytest.mark.parametrize("name", [names.DATASET, names.DATASET_CLASS])
def test_the_host_loads_the_dataset_by_either_name(files, name):
    register()
    data = load_response_dataset({"dataset_name": name, "processor": names.PROCESSOR, "verifier": "exact", **files})
    assert data.processor is mixsd_processor
    assert data.task_name == "mixsd"
    assert data.dataset[0] == {
        "task_name": "mixsd",
        "example_id": "a",
        "prompt_ids": [2, 12, 13, 3],
        "token_ids": [18, 18, 19],
        "text": "answer answer blue",
        "answers": ["blue", "azure"],
        "verifier": "exact",
    }


def test_a_processor_that_tokenizes_text_is_refused(files):
    with pytest.raises(ConfigError, match="set processor: mixsd_processor"):
        load_response_dataset({"dataset_name": names.DATASET_CLASS, "processor": "sft_processor", **files})


def test_validation_split(files):
    config = {"dataset_name": names.DATASET_CLASS, "split_validation_size": 1, "seed": 3, **files}
    data = load_response_dataset(config)
    assert len(data.dataset) == len(data.val_dataset) == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [([], "holds no targets"), ([Target("c", (1,), (2,), (True,), 1, "length", "")], "'c', which corpus_path lacks")],
)
def test_files_that_do_not_fit(files, tmp_path, lines, message):
    write_jsonl(tmp_path / "targets.jsonl", lines)
    with pytest.raises(CorpusError, match=message):
        load_response_dataset({"dataset_name": names.DATASET_CLASS, **files})


def processed(files, tokenizer, limit, processor=names.PROCESSOR):
    data = load_response_dataset({"dataset_name": names.DATASET_CLASS, "processor": processor, **files})
    spec = {data.task_name: (data.task_spec, data.processor)}
    return AllTaskProcessedDataset(data.dataset, tokenizer, None, spec, max_seq_length=limit)


def test_processor_output_field_by_field(files, tiny_tokenizer):
    datum = processed(files, tiny_tokenizer, 100)[0]
    user, assistant = datum.pop("message_log")
    assert datum == {
        "length": 7,
        "extra_env_info": {"answers": ["blue", "azure"], "verifier": "contains", "example_id": "a"},
        "loss_multiplier": 1.0,
        "idx": 0,
        "task_name": "mixsd",
    }
    assert (user["role"], assistant["role"]) == ("user", "assistant")
    assert assistant["content"] == TARGETS[0].text
    for message, ids in ((user, TARGETS[0].prompt_ids), (assistant, TARGETS[0].token_ids)):
        assert message["token_ids"].dtype == torch.int64
        assert message["token_ids"].tolist() == list(ids)


def test_the_host_trains_on_the_target_and_nothing_else(files, tiny_tokenizer):
    dataset = processed(files, tiny_tokenizer, 100)
    logs = [dataset[i]["message_log"] for i in range(2)]
    add_loss_mask_to_message_log(logs, roles_to_train_on=["assistant"])
    flat, lengths = batched_message_log_to_flat_message(logs, {"token_ids": 0})
    assert lengths.tolist() == [7, 5]
    assert flat["token_ids"].tolist() == [[2, 12, 13, 3, 18, 18, 19], [2, 7, 3, 19, 1, 0, 0]]
    assert flat["token_loss_mask"].tolist() == [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 0, 0]]


@pytest.mark.parametrize(
    ("limit", "weight", "shapes"), [(8, 1.0, [4, 3]), (7, 0.0, [3, 3]), (3, 0.0, [1, 1]), (None, 1.0, [4, 3])]
)
def test_over_long_samples_are_masked_as_the_host_masks_them(files, tiny_tokenizer, limit, weight, shapes):
    datum = processed(files, tiny_tokenizer, limit)[0]
    assert datum["loss_multiplier"] == weight
    assert datum["length"] == 7
    assert [len(message["token_ids"]) for message in datum["message_log"]] == shapes


def test_prompt_processor_gives_the_prompt_alone(files, tiny_tokenizer):
    datum = processed(files, tiny_tokenizer, 100, names.PROMPT_PROCESSOR)[1]
    (user,) = datum["message_log"]
    assert user["token_ids"].tolist() == [2, 7, 3]
    assert datum["extra_env_info"]["answers"] == ["red"]
    assert PROCESSOR_REGISTRY[names.PROMPT_PROCESSOR] is mixsd_prompt_processor


def logs_of(*texts):
    return [[{"role": "user", "content": "red?"}, {"role": "assistant", "content": text}] for text in texts]


def info(*answers, verifier="contains"):
    return {"answers": list(answers), "verifier": verifier, "example_id": "x"}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_step_of_the_environment_through_a_real_actor(ray_cluster, workers):
    register()
    env = create_env(names.ENVIRONMENT, {"num_workers": workers})
    metadata = [info("blue"), info("red"), info("seven", "7", verifier="number"), info("3", verifier="boxed")]
    logs = logs_of("It is Blue.", "no idea", "3, so 7", "\\boxed{3}")
    result = ray_cluster.get(env.step.remote(logs, metadata))
    assert result.rewards.tolist() == [1.0, 0.0, 1.0, 1.0]
    assert result.rewards.dtype == torch.float32
    assert result.terminateds.tolist() == [1.0] * 4
    assert result.metadata == metadata
    assert result.answers == ["It is Blue.", "no idea", "7", "3"]
    assert {observation["content"] for observation in result.observations} == {""}
    assert result.next_stop_strings == [None] * 4
    ray_cluster.get(env.shutdown.remote())
    ray_cluster.kill(env)


def test_a_sample_without_answers_raises_in_place_of_a_reward_of_zero():
    env = VerifierEnvironment()
    with pytest.raises(ConfigError, match="'x' has no answers"):
        env.step(logs_of("blue"), [info()])


@pytest.mark.parametrize(("cfg", "message"), [({"num_worker": 1}, "num_worker"), ({"num_workers": -1}, "-1")])
def test_environment_settings_are_checked(cfg, message):
    with pytest.raises(ConfigError, match=message):
        VerifierEnvironment(cfg)


def test_metrics_of_a_batch():
    batch = BatchedDataDict(
        rewards=torch.tensor([1.0, 1.0, 0.0, 0.0]),
        is_end=torch.tensor([1, 0, 1, 1]),
        generation_lengths=torch.tensor([10, 20, 30, 40]),
        prompt_lengths=torch.tensor([5, 5, 10, 10]),
    )
    same, metrics = VerifierEnvironment().global_post_process_and_metrics(batch)
    assert same is batch
    assert metrics == {
        "accuracy": 0.25,
        "fraction_of_samples_properly_ended": 0.75,
        "num_problems_in_batch": 4,
        "response_lengths": 17.5,
        "prompt_lengths": 7.5,
    }
