"""The same recipe, small: overrides that let a laptop run it to its report with the bundled model.

Nothing here changes what a recipe means; the overrides are printed where a recipe's own model cannot be had.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

BUNDLED_MODEL: Final = "bundled:smollm2-135m-instruct"

_COMMON: Final = (
    f"policy.model_name={BUNDLED_MODEL}",
    "policy.precision=float32",
    "policy.train_global_batch_size=8",
    "policy.train_micro_batch_size=8",
    "policy.optimizer.kwargs.lr=1e-4",
    "evals.max_new_tokens=32",
    "evals.forgetting.limit=16",
)
"""A model of 135 million parameters, and steps that two cores take in seconds."""

_CORPUS: Final[dict[str, tuple[str, ...]]] = {
    "kgfact": (
        "corpus.size=custom",
        "corpus.domains=5",
        "corpus.entities_per_domain=10",
        "corpus.facts=16",
        "corpus.distractors=3",
        # A model of this size follows one plain sentence, not a request for \boxed{}; invented names are six tokens
        # long, so that at a high rate too few rollouts spell one.
        "prompts.naive_template='{question}'",
        "prompts.expert_template='{context} {question}'",
        "mixing.verifier=contains",
        "mixing.rate=0.1",
        "mixing.max_new_tokens=40",
        "sft.max_num_epochs=12",
    ),
    "kgfunc": (
        "corpus.operations=[F]",
        "corpus.train_count=12",
        "corpus.test_per_operation=8",
        "corpus.unseen_per_operation=1",
        "corpus.composition_count=0",
        "corpus.shots=2",
        # It cannot repeat a worked solution either, but it can say a number that it was told.
        "prompts.expert_template='{question} Reply with exactly this sentence: The answer is {answer}.'",
        "mixing.verifier=number",
        "mixing.rate=0.1",
        "mixing.max_new_tokens=40",
        "evals.max_new_tokens=48",
        "sft.max_num_epochs=8",
    ),
    "simpleqa": ("corpus.limit=16", "mixing.verifier=contains", "prompts.naive_template='{question}'",
                 "prompts.expert_template='{context}. {question}'", "mixing.max_new_tokens=40"),
    "mquake": ("corpus.edits=16", "mixing.verifier=contains", "prompts.naive_template='{question}'",
               "prompts.expert_template='{context} {question}'", "mixing.max_new_tokens=40", "memit.prefixes=2",
               "memit.covariance_weight=500", "memit.covariance.source=base_model", "memit.covariance.samples=256",
               "memit.covariance.max_tokens=64"),
}  # fmt: skip


def small_command(recipe: str, corpus: str) -> str:
    """The command that runs ``recipe`` small with the bundled model."""
    overrides = (f"run_dir=runs/{Path(recipe).stem}_tiny", *_COMMON, *_CORPUS.get(corpus, ()))
    # later overrides win in a recipe too, so that a corpus may correct the common ones
    merged = {o.split("=", 1)[0]: o.split("=", 1)[1] for o in overrides}
    quoted = [f'"{k}={v}"' if set(v) & set("'{}[]\\ ") else f"{k}={v}" for k, v in merged.items()]
    return f"uv run examples/run_mixsd.py --config {recipe} " + " ".join(quoted)
