"""The configuration: defaults that the paper states, and one line a mistake."""

import pytest
from pydantic import BaseModel

from nemo_mixsd import config as module
from nemo_mixsd.config import RunConfig, load_config
from nemo_mixsd.errors import ConfigError
from nemo_mixsd.types import Method
from tests.samples import make_config


def test_defaults_are_those_of_the_paper():
    config = make_config()
    assert config.method == [Method.SFT, Method.MIXSD]
    assert config.mixing.rate == [0.3]
    assert (config.mixing.max_retries, config.mixing.temperature) == (10, 0.0)
    assert (config.mixing.max_new_tokens, config.mixing.max_total_tokens) == (8192, 10_000)
    assert config.policy.train_global_batch_size == 16
    assert config.policy.precision == "bfloat16"
    assert config.policy.scheduler is None  # 20 warm-up steps, then constant: see test_optim
    assert config.checkpointing.save_period == 20
    assert config.evals.forgetting.temperature == 1.0
    assert config.policy.optimizer.name == "torch.optim.AdamW"


@pytest.mark.parametrize(
    ("given", "rates"), [(0.5, [0.5]), ([0, 0.3, 0.5], [0.0, 0.3, 0.5]), ("0.3", [0.3]), (1, [1.0])]
)
def test_a_rate_is_a_list_of_rates(given, rates):
    assert make_config(mixing__rate=given).mixing.rate == rates


@pytest.mark.parametrize(
    ("given", "methods"),
    [
        ("sft", [Method.SFT]),
        (["mixsd", "sft"], [Method.MIXSD, Method.SFT]),
        (["sft", "sft", "base"], [Method.SFT, Method.BASE]),
    ],
)
def test_a_method_is_a_list_of_methods(given, methods):
    assert make_config(method=given).method == methods


BAD = [
    ({"mixing__rate": 1.5}, "mixing.rate", "1.5", "less than or equal to 1"),
    ({"mixing__rate": [0.1, -1]}, "mixing.rate.1", "-1", "greater than or equal to 0"),
    ({"mixing__rate": float("nan")}, "mixing.rate", "nan", "less than or equal to 1"),
    ({"mixing__rate": float("inf")}, "mixing.rate", "inf", "less than or equal to 1"),
    ({"mixing__rate": "x"}, "mixing.rate", "'x'", "valid number"),
    ({"mixing__rate": []}, "mixing.rate", "[]", "at least 1 item"),
    ({"mixing__max_retries": -1}, "mixing.max_retries", "-1", "greater than or equal to 0"),
    ({"mixing__max_retries": 1.5}, "mixing.max_retries", "1.5", "valid integer"),
    ({"mixing__top_k": 5}, "mixing", "top_k", "set mixing.temperature or drop mixing.top_k"),
    ({"mixing__temperature": -0.1}, "mixing.temperature", "-0.1", "greater than or equal to 0"),
    ({"mixing__verifier": "fuzzy"}, "mixing.verifier", "'fuzzy'", "'contains', 'exact', 'boxed' or 'number'"),
    ({"mixing__engine": "tgi"}, "mixing.engine", "'tgi'", "'hf', 'vllm'"),
    ({"mixing__max_new_tokens": 0}, "mixing.max_new_tokens", "0", "greater than or equal to 1"),
    ({"mixing__accept_truncated": "maybe"}, "mixing.accept_truncated", "'maybe'", "valid boolean"),
    ({"mixing": None}, "mixing", "None", "valid dictionary"),
    ({"prompts__style": "facts"}, "prompts.style", "'facts'", "'auto', 'fact' or 'solution'"),
    ({"method": "mixds"}, "method.0", "'mixds'", "'base', 'sft', 'mixsd'"),
    ({"method": ["sft", "mixsd-kl"]}, "method.1", "'mixsd-kl'", "'mixsd', 'mixsd_kl'"),
    ({"method": []}, "method", "[]", "at least 1 item"),
    ({"backend": "deepspeed"}, "backend", "'deepspeed'", "'auto', 'local' or 'nemo_rl'"),
    ({"corpus": {"name": "jsonl", "path": "x", "limit": 0}}, "corpus.limit", "0", "greater than or equal to 1"),
    ({"corpus": {"name": "jsnl"}}, "corpus.name", "'jsnl'", "did you mean 'jsonl'?"),
    ({"corpus": {"path": "x"}}, "corpus.name", "missing", "choose one of jsonl"),
    ({"corpus": {"name": "jsonl"}}, "corpus.path", "missing", "add it to the recipe or to the command line"),
    ({"evals__forgetting__temperature": 0}, "evals.forgetting.temperature", "0", "greater than 0"),
    ({"evals__checkpoints": "first"}, "evals.checkpoints", "'first'", "'last' or 'all'"),
    ({"evals__splits": "train"}, "evals.splits", "'train'", "valid list"),
    ({"callbacks": [{"required": True}]}, "callbacks.0.name", "missing", "add it to the recipe"),
    ({"policy": {}}, "policy.model_name", "missing", "add it to the recipe or to the command line"),
    ({"policy__precision": "fp8"}, "policy.precision", "'fp8'", "'float32', 'bfloat16' or 'float16'"),
    ({"policy__max_grad_norm": 0}, "policy.max_grad_norm", "0", "greater than 0"),
    ({"sft__max_num_epochs": 0}, "sft.max_num_epochs", "0", "greater than or equal to 1"),
    ({"checkpointing__keep_top_k": 0}, "checkpointing.keep_top_k", "0", "greater than or equal to 1"),
]


@pytest.mark.parametrize(("changes", "key", "value", "remedy"), BAD, ids=[f"{k}-{v}" for _, k, v, _ in BAD])
def test_a_bad_value_is_one_line_with_key_value_and_remedy(changes, key, value, remedy):
    with pytest.raises(ConfigError) as caught:
        make_config(**changes)
    text = str(caught.value)
    assert text.startswith(f"test.yaml: {key}")
    assert value in text
    assert remedy in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("changes", "key", "near"),
    [
        ({"mixng": {"rate": 1}}, "mixng", "mixing"),
        ({"mixing__ratee": 0.3}, "mixing.ratee", "rate"),
        ({"mixing__max_retry": 3}, "mixing.max_retry", "max_retries"),
        ({"evals__forgetting__promts": "x"}, "evals.forgetting.promts", "prompts"),
        ({"prompts__expert": "x"}, "prompts.expert", "expert_template"),
        ({"corpus": {"name": "jsonl", "path": "x", "pathh": 1}}, "corpus.pathh", "path"),
        ({"callbacks": [{"name": "a.B", "kwarg": {}}]}, "callbacks.0.kwarg", "kwargs"),
        ({"methods": "sft"}, "methods", "method"),
    ],
)
def test_an_unknown_key_names_the_nearest(changes, key, near):
    with pytest.raises(ConfigError) as caught:
        make_config(**changes)
    assert str(caught.value) == f"test.yaml: unknown key {key!r}; did you mean {near!r}?"


def test_every_mistake_is_told_at_once():
    with pytest.raises(ConfigError) as caught:
        make_config(mixing__rate=2, mixing__sed=1, policy={})
    assert str(caught.value).count("; ") >= 2
    for part in ("mixing.rate.0: 2:", "unknown key 'mixing.sed'", "policy.model_name is missing"):
        assert part in str(caught.value)


def test_long_values_are_cut():
    with pytest.raises(ConfigError) as caught:
        make_config(mixing__engine="x" * 500)
    assert len(str(caught.value)) < 250


def test_the_hosts_sections_pass_what_we_do_not_read():
    config = make_config(
        policy__dtensor_cfg={"enabled": True}, sft__val_period=3, logger__mlflow_enabled=True, data={"shuffle": True}
    )
    assert config.policy.model_dump()["dtensor_cfg"] == {"enabled": True}
    assert config.sft.model_dump()["val_period"] == 3
    assert config.data == {"shuffle": True}


def test_every_field_has_a_docstring():
    models = [
        m for m in vars(module).values() if isinstance(m, type) and issubclass(m, BaseModel) and m is not BaseModel
    ]
    assert RunConfig in models
    undocumented = [
        f"{m.__name__}.{name}"
        for m in models
        if m.__module__ == module.__name__
        for name, field in m.model_fields.items()
        if not field.description
    ]
    assert undocumented == []


def write_recipe(path, corpus_path="facts.jsonl"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"corpus: {{name: jsonl, path: {corpus_path}}}\npolicy: {{model_name: owner/model}}\n")
    return path


def test_load_config_names_the_run_directory_after_the_recipe(tmp_path):
    recipe = write_recipe(tmp_path / "my-facts.yaml")
    assert load_config(recipe).run_dir == "runs/my-facts"
    assert load_config(recipe, ["run_dir=elsewhere", "method=sft"]).run_dir == "elsewhere"
    assert load_config(recipe, ["mixing.rate=[0,0.3]"]).mixing.rate == [0.0, 0.3]


def test_corpus_path_is_looked_for_here_then_beside_the_recipe(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    recipe = write_recipe(there / "r.yaml")
    monkeypatch.chdir(here)
    assert load_config(recipe).corpus.path == "facts.jsonl"  # nowhere: stays as given, the corpus will complain
    (there / "facts.jsonl").touch()
    assert load_config(recipe).corpus.path == str(there / "facts.jsonl")
    (here / "facts.jsonl").touch()
    assert load_config(recipe).corpus.path == "facts.jsonl"
    assert load_config(recipe, [f"corpus.path={there}/facts.jsonl"]).corpus.path == str(there / "facts.jsonl")


def test_errors_name_the_recipe(tmp_path):
    recipe = write_recipe(tmp_path / "r.yaml")
    with pytest.raises(ConfigError, match=r"r\.yaml: mixing\.rate\.0: 3: input should be"):
        load_config(recipe, ["mixing.rate=3"])
