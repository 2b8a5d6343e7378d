"""Every recipe is read by the host's own loader, fits its typed configuration, and has no key that nobody reads."""

import types
from pathlib import Path
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from nemo_rl.algorithms.distillation import MasterConfig as DistillMasterConfig
from nemo_rl.algorithms.sft import MasterConfig
from nemo_rl.utils.config import load_config as load_host_config
from nemo_rl.utils.config import register_omegaconf_resolvers
from omegaconf import OmegaConf
from pydantic import BaseModel

from nemo_mixsd.config import RunConfig, load_config
from nemo_mixsd.nemo.distill_host_config import distill_master_config
from nemo_mixsd.nemo.host_config import master_config
from nemo_mixsd.training.distill_config import DISTILLED
from nemo_mixsd.training.distill_steps import distill_schedule

ROOT = Path(__file__).parent.parent.parent
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
SECTIONS = ("policy", "data", "sft", "checkpointing", "logger", "cluster")
READ_BY_THE_HOST = {
    "policy.offload_optimizer_for_logprob",  # nemo_rl/models/automodel/setup.py
    "policy.megatron_cfg.moe_permute_fusion",  # nemo_rl/models/megatron/setup.py, as the next three
    "policy.megatron_cfg.moe_router_bias_update_rate",
    "policy.megatron_cfg.moe_router_dtype",
    "policy.megatron_cfg.moe_router_load_balancing_type",
}
"""Keys that the host reads and its types do not have."""


def parts(annotation):
    """The alternatives of an annotation, without wrappers."""
    if get_origin(annotation) in (NotRequired, Required, Annotated):
        return parts(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [p for argument in get_args(annotation) for p in parts(argument)]
    return [annotation]


def unknown_keys(value, annotations, path):
    """Keys of ``value`` that none of ``annotations`` has, as dotted paths."""
    found = [p for annotation in annotations for p in parts(annotation)]
    structures = [p for p in found if is_typeddict(p) or (isinstance(p, type) and issubclass(p, BaseModel))]
    if not isinstance(value, dict) or not structures or any(p is Any or get_origin(p) is dict for p in found):
        return []
    hints = [get_type_hints(structure, include_extras=True) for structure in structures]
    out = []
    for key, item in value.items():
        known = [hint[key] for hint in hints if key in hint]
        here = f"{path}.{key}"
        out += unknown_keys(item, known, here) if known else [here]
    return out


def nobody_reads(sections, names=SECTIONS, host_config=MasterConfig):
    annotations = get_type_hints(host_config, include_extras=True)
    ours = RunConfig.model_fields
    keys = []
    for name in names:
        section = sections.get(name, {})
        host = unknown_keys(section, [annotations[name]], name)
        not_ours = unknown_keys(section, [ours[name].annotation], name)
        keys += [key for key in host if any(f"{key}.".startswith(f"{other}.") for other in not_ours)]
    return sorted(set(keys) - READ_BY_THE_HOST)


@pytest.fixture(params=RECIPES, ids=lambda path: str(path.relative_to(ROOT / "recipes")))
def recipe(request):
    return request.param


def test_a_recipe_fits_the_host(recipe):
    register_omegaconf_resolvers()
    raw = OmegaConf.to_container(load_host_config(recipe), resolve=True, throw_on_missing=True)
    config = load_config(recipe)
    for name in SECTIONS:  # the host's loader and ours read the same
        model = getattr(config, name)
        ours = model.model_dump() if isinstance(model, BaseModel) else model
        assert raw[name].keys() <= ours.keys()
    made = master_config(config, "model", Path("targets.jsonl"), Path("checkpoints/mixsd"), 140)
    assert MasterConfig(**made.model_dump()).sft.max_num_steps == 140
    assert nobody_reads(raw) == []


def test_a_key_that_nobody_reads_is_found():
    sections = {"policy": {"model_name": "m", "lerning_rate": 1}, "sft": {"sed": 1}, "cluster": {"num_nodes": 1}}
    sections["policy"]["megatron_cfg"] = {"enabled": True, "optimizer": {"lr": 1.0, "momentun": 1}}
    assert nobody_reads(sections) == ["policy.lerning_rate", "policy.megatron_cfg.optimizer.momentun", "sft.sed"]


def test_gpus_divide_by_the_parallel_sizes_and_batches_by_the_rest(recipe):
    config = load_config(recipe)
    policy = config.policy.model_dump()
    megatron, dtensor = policy["megatron_cfg"], policy["dtensor_cfg"]
    assert megatron["enabled"] != dtensor["enabled"]
    size = megatron["tensor_model_parallel_size"] if megatron["enabled"] else dtensor["tensor_parallel_size"]
    gpus = config.cluster.gpus_per_node * config.cluster.num_nodes
    assert gpus % size == 0
    assert policy["train_global_batch_size"] % (policy["train_micro_batch_size"] * (gpus // size)) == 0


DISTILLING = [path for path in RECIPES if set(load_config(path).method) & set(DISTILLED)]
DISTILL_SECTIONS = ("policy", "teacher", "data", "distillation", "loss_fn", "checkpointing", "logger", "cluster")


def test_there_is_a_recipe_of_the_kl_ablation_for_each_model_of_the_paper():
    models = {load_config(path).policy.model_name for path in DISTILLING if path.parent.name == "nemo_rl"}
    assert models == {"Qwen/Qwen3-1.7B", "Qwen/Qwen3-4B-Instruct-2507", "Qwen/Qwen3-8B"}


@pytest.mark.parametrize("path", DISTILLING, ids=lambda path: str(path.relative_to(ROOT / "recipes")))
def test_a_distillation_fits_the_host(path):
    config = load_config(path)
    for method in set(config.method) & set(DISTILLED):
        schedule = distill_schedule(config, method, 100)
        made = distill_master_config(config, method, "model", Path("checkpoints/opsd"), schedule)
        again = DistillMasterConfig(**made.model_dump()).model_dump()
        assert again["distillation"]["max_num_steps"] == schedule.steps
        assert schedule.samples_per_step % config.policy.train_global_batch_size == 0
        for policy in (again["policy"], again["teacher"]):
            assert policy.pop("generation")["backend"]  # its keys depend on the backend, and the host types few of them
        assert nobody_reads(again, DISTILL_SECTIONS, DistillMasterConfig) == []


@pytest.mark.parametrize(
    "path", [path for path in DISTILLING if path.parent.name == "nemo_rl"], ids=lambda path: path.stem
)
def test_the_ablation_has_the_papers_numbers(path):
    """Appendix D: forward KL, a fixed teacher, 8 rollouts at temperature 1, batch 16, 20 prompts a step, 20 epochs."""
    config = load_config(path)
    opsd, schedule = config.opsd, distill_schedule(config, config.method[0], 100)
    assert (opsd.teacher, opsd.kl_type, opsd.topk, opsd.num_generations) == ("base", "forward", 64, 8)
    assert (opsd.temperature, opsd.nll_temperature, opsd.mixsd_kl_rate) == (1.0, 0.0, [0.0])
    assert (schedule.prompts_per_step, schedule.updates_per_step, schedule.steps) == (20, 10, 100)
    assert (config.cluster.gpus_per_node, config.cluster.num_nodes) == (4, 1)
