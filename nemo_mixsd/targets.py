"""The target stage of a run: canonical targets for SFT, mixed ones for MixSD, both as token ids."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from nemo_mixsd.errors import CorpusError
from nemo_mixsd.io import write_jsonl
from nemo_mixsd.mixing.journal import Journal, Outcome, fingerprint, finish, generate
from nemo_mixsd.mixing.mixer import Rollouts
from nemo_mixsd.plan import Plan
from nemo_mixsd.progress import track
from nemo_mixsd.prompts import PromptRenderer
from nemo_mixsd.rundir import RunDirectory
from nemo_mixsd.types import Discard, Example, MixRequest, Target

logger = logging.getLogger(__name__)


def sft_target(example: Example, renderer: PromptRenderer) -> Target:
    """The canonical text as token ids, ended by the tokenizer's EOS: what plain SFT trains on."""
    tokenizer = renderer.tokenizer
    ids = tokenizer(example.target, add_special_tokens=False)["input_ids"]
    token_ids = (*ids, tokenizer.eos_token_id)
    return Target(
        example_id=example.id,
        prompt_ids=renderer.naive_ids(example.question),
        token_ids=token_ids,
        from_naive=(False,) * len(token_ids),
        attempts=0,
        finish_reason="stop",
        text=example.target,
        generated=0,
    )


def sft_targets(examples: Sequence[Example], renderer: PromptRenderer, path: Path) -> None:
    """Write the canonical targets of a split."""
    write_jsonl(path, (sft_target(example, renderer) for example in examples))


def mix_targets(plan: Plan, mixer: Rollouts, requests: Sequence[MixRequest], directory: RunDirectory) -> None:
    """Generate the mixed targets of one rate, or go on from their journal.

    Args:
        plan: The run; for the journal's key.
        mixer: Over the base model, with the settings of this rate.
        requests: Both prompts of every training example, in corpus order.
        directory: Gets the targets and the discards.

    Raises:
        CorpusError: Every example was discarded, so that there is nothing to train on.
    """
    name = mixer.settings.name
    ignored = {"rate", "auto", "max_in_flight", "engine"}
    settings = plan.config.mixing.model_dump(exclude=ignored)
    key = fingerprint(plan.model.name, mixer.settings.rate, settings, plan.verifier.name)
    path = directory.targets(name)
    journal = Journal(path.with_name(f".{path.name}.journal"), key)
    discards = sum(1 for _ in journal.ids("discard"))
    with track(f"mix {name}", len(requests), "targets", len(journal)) as task:

        def show(outcome: Outcome) -> None:
            nonlocal discards
            discards += isinstance(outcome, Discard)
            task.advance(note=f"{discards} discarded" if discards else "")

        generate(requests, mixer, journal, show)
    if not any(True for _ in journal.ids("target")):
        example = next(iter(journal.ids("discard")), None)
        why = "" if example is None else f" (for example {example!r}: {journal.read(example).reason})"
        journal.close()
        raise CorpusError(
            f"{name}: the verifier {plan.verifier.name!r} rejected every attempt on all {len(requests)} examples{why}. "
            "Lower mixing.rate, or change mixing.verifier, prompts.expert_template or mixing.max_new_tokens, with "
            "another run_dir"
        )
    count, lost = finish(journal, (r.example_id for r in requests), path, directory.discarded, name)
    if lost:
        logger.warning("%s: %d of %d examples discarded, see %s", name, lost, count + lost, directory.discarded)
