"""What NeMo-RL's distillation would refuse is refused without NeMo-RL, before anything is loaded."""

import pytest

from nemo_mixsd.errors import ConfigError, CorpusError
from nemo_mixsd.nemo.distill_sections import check_host_distill, distillation_section
from nemo_mixsd.training.distill_steps import distill_schedule
from nemo_mixsd.training.teacher import TeacherPrompt
from nemo_mixsd.types import Method
from tests.samples import make_config

PROMPTS = [TeacherPrompt("e0", (2, 3), (9, 2, 3)), TeacherPrompt("e1", (2, 4), (9, 2, 4))]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"loss_fn__kl_type": "reverse"}, "loss_fn.kl_type='reverse' contradicts opsd.kl_type"),
        ({"distillation__topk_logits_k": 8}, "distillation.topk_logits_k=8 contradicts opsd.topk"),
        ({"distillation__val_period": 10}, "evals.checkpoints=all"),
        ({"opsd__teacher": "ema"}, "backend=local"),
        ({"opsd__outside_topk": "bucket"}, "logsumexp"),
        ({"opsd__temperature": 0.7}, "use 1 or 0"),
        ({"opsd__num_generations": 3}, "train_global_batch_size"),
    ],
)
def test_refused_recipes(changes, text):
    with pytest.raises(ConfigError, match=text):
        check_host_distill(make_config(**changes), Method.OPSD, PROMPTS)


def test_one_question_with_two_contexts():
    check_host_distill(make_config(), Method.OPSD, [*PROMPTS, PROMPTS[0]])  # twice the same is no harm
    with pytest.raises(CorpusError, match="'e0' and 'e2' ask the same question"):
        check_host_distill(make_config(), Method.OPSD, [*PROMPTS, TeacherPrompt("e2", (2, 3), (8, 2, 3))])


@pytest.mark.parametrize(
    ("method", "wanted"), [(Method.OPSD, (64, 8, 2)), (Method.OPSD_NLL, (1, 1, 16)), (Method.MIXSD_KL, (64, 1, 16))]
)
def test_one_recipe_for_all_methods(method, wanted):
    config = make_config(distillation__topk_logits_k=64, distillation__num_generations_per_prompt=8)
    made = distillation_section(config, method, distill_schedule(config, method, 100))
    keys = ("topk_logits_k", "num_generations_per_prompt", "num_prompts_per_step")
    assert tuple(made[key] for key in keys) == wanted
