"""Optimizer and schedule: the paper's learning rates, the host's grammar, errors."""

import pytest
import torch

from nemo_mixsd.errors import ConfigError
from nemo_mixsd.host_sections import OptimizerConfig
from nemo_mixsd.training.optim import WARMUP_STEPS, make_optimizer, make_scheduler


def optimizer(lr=1.0, **kwargs):
    config = OptimizerConfig(name="torch.optim.AdamW", kwargs={"lr": lr, **kwargs})
    return make_optimizer([torch.nn.Parameter(torch.ones(2))], config)


def rates(config, steps=25, lr=2e-5):
    opt = optimizer(lr)
    schedule = make_scheduler(opt, config)
    out = []
    for _ in range(steps):
        out.append(opt.param_groups[0]["lr"])
        opt.step()
        schedule.step()
    return out


RECIPE = [
    {
        "name": "torch.optim.lr_scheduler.LinearLR",
        "kwargs": {"start_factor": 0.05, "end_factor": 1.0, "total_iters": 20},
    },
    {"name": "torch.optim.lr_scheduler.ConstantLR", "kwargs": {"factor": 1.0, "total_iters": 1}},
    {"milestones": [20]},
]


@pytest.mark.parametrize("config", [None, RECIPE])
def test_twenty_linear_warm_up_steps_then_constant(config):
    expected = [2e-5 * (0.05 + 0.95 * step / 20) if step < 20 else 2e-5 for step in range(25)]
    assert rates(config) == pytest.approx(expected, rel=1e-9)
    assert WARMUP_STEPS == 20
    assert rates(config, 200)[-1] == pytest.approx(2e-5)


def test_one_schedule_alone():
    one = {"name": "torch.optim.lr_scheduler.StepLR", "kwargs": {"step_size": 2, "gamma": 0.5}}
    expected = [1, 1, 0.5, 0.5, 0.25]
    assert rates(one, 5, 1.0) == rates([one], 5, 1.0) == expected
    assert rates({"name": "torch.optim.lr_scheduler.ConstantLR", "kwargs": {"factor": 1.0}}, 3, 1.0) == [1, 1, 1]


def test_the_optimizer_is_what_the_recipe_says():
    frozen = torch.nn.Parameter(torch.ones(1), requires_grad=False)
    free = torch.nn.Parameter(torch.ones(1))
    config = OptimizerConfig(name="torch.optim.AdamW", kwargs={"lr": 0.1, "betas": [0.8, 0.9], "weight_decay": 0.2})
    made = make_optimizer(iter([frozen, free]), config)
    assert isinstance(made, torch.optim.AdamW)
    (group,) = made.param_groups
    assert group["params"] == [free]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.1, (0.8, 0.9), 0.2)
    assert isinstance(
        make_optimizer([free], OptimizerConfig(name="torch.optim.SGD", kwargs={"lr": 1.0})), torch.optim.SGD
    )


@pytest.mark.parametrize(
    ("name", "kwargs", "text"),
    [
        ("torch.optim.AdamX", {}, r"policy\.optimizer\.name: 'torch\.optim\.AdamX' cannot be imported"),
        ("no_such.Adam", {}, r"policy\.optimizer\.name: 'no_such\.Adam' cannot be imported"),
        ("AdamW", {}, r"policy\.optimizer\.name: 'AdamW' cannot be imported"),
        ("torch.optim.AdamW", {"learning_rate": 1}, r"policy\.optimizer\.kwargs: .*learning_rate"),
        ("torch.optim.AdamW", {"lr": -1.0}, r"policy\.optimizer\.kwargs: .*Invalid learning rate: -1\.0"),
        ("builtins.list", {}, r"'builtins\.list' is not an optimizer; e\.g\. torch\.optim\.AdamW"),
    ],
)
def test_bad_optimizers(name, kwargs, text):
    with pytest.raises(ConfigError, match=text):
        make_optimizer([torch.nn.Parameter(torch.ones(1))], OptimizerConfig(name=name, kwargs=kwargs))


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ([{"nme": "x"}], r"policy\.scheduler: \{'nme': 'x'\} has neither 'name' nor 'milestones'"),
        (RECIPE[:2], r"2 schedules need 1 milestones, not \[\]"),
        ([RECIPE[0], {"milestones": [3]}], r"1 schedules need 0 milestones, not \[3\]"),
        ([], r"0 schedules need -1 milestones|has no schedule"),
        ({"name": "torch.optim.lr_scheduler.Nope"}, r"policy\.scheduler\.name: .*Nope"),
        ({"name": "torch.optim.lr_scheduler.StepLR", "kwargs": {"size": 2}}, r"policy\.scheduler\.kwargs: .*size"),
        ({"name": "torch.optim.lr_scheduler.StepLR"}, r"policy\.scheduler\.kwargs: .*step_size"),
    ],
)
def test_bad_schedules(config, text):
    with pytest.raises(ConfigError, match=text):
        make_scheduler(optimizer(), config)
