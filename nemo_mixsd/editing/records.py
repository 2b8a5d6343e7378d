"""What became of each example: ``checkpoints/memit/edits.jsonl``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nemo_mixsd.editing.edits import Edit, Skipped
from nemo_mixsd.editing.values import EditPrompts, TargetValue
from nemo_mixsd.prompts import PromptRenderer


@dataclass(frozen=True, slots=True)
class EditRecord:
    """What became of an example, a line of ``checkpoints/memit/edits.jsonl``. Null where it was skipped.

    Attributes:
        example_id: ``Example.id``.
        status: Whether it was edited.
        reason: Why it was skipped.
        subject: The subject as the question spells it.
        last_token: Text of the token at which it is edited.
        answer: The new object.
        steps: Gradient steps for its target value.
        nll_before: Mean NLL of the answer in the base model, nats a token.
        nll_after: The same with the target value in place.
        change: Length of the change of the hidden state, relative to the hidden state.
        reached: How much of that change the updated weights bring about, 1 for all.
    """

    example_id: str
    status: Literal["edited", "skipped"]
    reason: str = ""
    subject: str = ""
    last_token: str = ""
    answer: str = ""
    steps: int | None = None
    nll_before: float | None = None
    nll_after: float | None = None
    change: float | None = None
    reached: float | None = None


def skipped_record(skip: Skipped) -> EditRecord:
    """The record of an example that was not edited."""
    return EditRecord(skip.example_id, "skipped", skip.reason)


def edited_record(
    edit: Edit, prompts: EditPrompts, value: TargetValue, reached: float, renderer: PromptRenderer
) -> EditRecord:
    """The record of an edit."""
    bare = prompts.prompts[0]
    return EditRecord(
        example_id=edit.example_id,
        status="edited",
        subject=edit.subject,
        last_token=str(renderer.tokenizer.decode([bare.ids[bare.position]])),
        answer=edit.answer,
        steps=value.steps,
        nll_before=round(value.nll_before, 4),
        nll_after=round(value.nll_after, 4),
        change=round(value.change, 4),
        reached=round(reached, 4),
    )
