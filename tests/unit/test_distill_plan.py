"""Names and plan lines of the methods with a teacher."""

import pytest

from nemo_mixsd.distill_plan import distill_line, distill_names
from nemo_mixsd.errors import ConfigError
from nemo_mixsd.plan import MethodSpec, method_specs
from nemo_mixsd.types import Method
from tests.samples import make_config


@pytest.mark.parametrize(
    ("shuffled", "names"),
    [
        (False, ["opsd", "opsd_nll", "mixsd_kl@0", "mixsd_kl@0.25", "mixsd@0.3"]),
        (True, ["opsd-shuffled", "opsd_nll-shuffled", "mixsd_kl-shuffled@0", "mixsd_kl-shuffled@0.25", "mixsd@0.3"]),
    ],
)
def test_names(shuffled, names):
    config = make_config(
        method=["opsd", "opsd_nll", "mixsd_kl", "mixsd"],
        opsd__mixsd_kl_rate=[0, 0.25, 0],
        opsd__shuffled_context=shuffled,
    )
    specs = method_specs(config)
    assert [spec.name for spec in specs] == names
    assert [spec.has_targets for spec in specs] == [False, False, True, True, True]
    assert specs[3] == MethodSpec(names[3], Method.MIXSD_KL, 0.25)
    assert distill_names(config, Method.OPSD) == [(names[0], None)]


def test_lines_count_what_will_be_done():
    config = make_config(
        opsd__max_new_tokens=10, sft__max_num_epochs=3, opsd__teacher="live", opsd__kl_type="reverse", opsd__topk=5
    )
    assert distill_line(config, Method.OPSD, None, 24, local=True) == (
        "36 steps of 2 prompts × 8 rollouts (temperature 1, at most 10 tokens; 5760 in all), reverse KL on the "
        "teacher's top 5, teacher live"
    )
    assert distill_line(config, Method.OPSD_NLL, None, 24, local=True) == (
        "4 steps of 16 prompts × 1 rollouts (greedy, at most 10 tokens; 640 in all), NLL of the teacher's first "
        "choice, teacher live"
    )
    assert distill_line(config, Method.MIXSD_KL, 0.5, 24, local=True) == (
        "24 mixed at λ=0.5 targets, 4 steps of 16, reverse KL on the teacher's top 5, teacher live"
    )


def test_several_optimizer_steps_a_batch_of_rollouts_are_for_the_host():
    config = make_config(opsd__prompts_per_step=20)
    with pytest.raises(ConfigError, match=r"prompts_per_step=20 is 10 optimizer steps .*batch_size to 160"):
        distill_line(config, Method.OPSD, None, 100, local=True)
    assert "20 prompts × 8 rollouts" in distill_line(config, Method.OPSD, None, 100, local=False)
