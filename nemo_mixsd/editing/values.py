"""Target value vectors: which hidden state at the subject's last token makes the model give the new answer.

For each edit, a change δ of the hidden state h after the last edited layer is found by gradient steps (Meng et al.
2023, section 4.2). It minimizes

    mean NLL of the answer over the prompts + kl_factor · KL(changed ‖ base) + weight_decay · ‖δ‖² / ‖h‖²

with ‖δ‖ ≤ clamp_norm_factor · ‖h‖. The prompts are the naive prompt, bare and behind random texts; the KL divergence
is that of the next token of a reply that begins to say what the subject is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nemo_mixsd.editing.config import MemitConfig
from nemo_mixsd.editing.edits import Edit
from nemo_mixsd.editing.states import last_hidden
from nemo_mixsd.editing.subject import LocatedPrompt, locate, locate_edit
from nemo_mixsd.editing.tail import Tail, make_tails
from nemo_mixsd.errors import BackendError, PromptError
from nemo_mixsd.prompts import PromptRenderer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ESSENCE_QUESTION = "What is {subject}?"
ESSENCE_REPLY = "{subject} is"
"""The prompt whose next token is to stay as it is, so that the edit does not change what the subject is."""


@dataclass(frozen=True, slots=True)
class EditPrompts:
    """An edit as token ids.

    Attributes:
        example_id: ``Edit.example_id``.
        prompts: The naive prompt, first bare, then behind each random text.
        answer_ids: Ids of the answer, the start of the response.
        essence: The prompt about the subject alone.
    """

    example_id: str
    prompts: tuple[LocatedPrompt, ...]
    answer_ids: tuple[int, ...]
    essence: LocatedPrompt


@dataclass(frozen=True, slots=True)
class TargetValue:
    """The outcome of one optimization, a line of the journal and of ``edits.jsonl``.

    Attributes:
        example_id: ``Edit.example_id``.
        value: ``[hidden]``, h + δ.
        steps: Gradient steps taken.
        nll_before: Mean NLL of the answer over the prompts in the base model, nats a token.
        nll_after: The same with δ.
        kl: KL divergence on the essence prompt with δ, nats.
        change: ‖δ‖ / ‖h‖.
    """

    example_id: str
    value: tuple[float, ...]
    steps: int
    nll_before: float
    nll_after: float
    kl: float
    change: float


def edit_prompts(renderer: PromptRenderer, edit: Edit, prefixes: Sequence[str]) -> EditPrompts:
    """Everything that an edit needs as token ids.

    Raises:
        PromptError: The subject is not found on the ids, or the answer has none.
    """
    tokenizer = renderer.tokenizer
    answer = tuple(tokenizer(edit.answer, add_special_tokens=False)["input_ids"])
    if not answer:
        raise PromptError(f"edit {edit.example_id!r}: its answer {edit.answer!r} has no tokens")
    question = ESSENCE_QUESTION.format(subject=edit.subject)
    start = question.index(edit.subject)
    essence = locate(renderer, question, (start, start + len(edit.subject)), edit.example_id)
    reply = tuple(tokenizer(ESSENCE_REPLY.format(subject=edit.subject), add_special_tokens=False)["input_ids"])
    return EditPrompts(
        example_id=edit.example_id,
        prompts=tuple(locate_edit(renderer, edit, prefix) for prefix in ("", *prefixes)),
        answer_ids=answer,
        essence=LocatedPrompt((*essence.ids, *reply), essence.position),
    )


def optimise_value(model: PreTrainedModel, layer: int, edit: EditPrompts, settings: MemitConfig) -> TargetValue:
    """Find the target value of one edit.

    Args:
        model: The base model, in evaluation mode, its parameters without gradients.
        layer: The last edited layer, after which the hidden state is changed.
        edit: Its prompts.
        settings: Steps, learning rate and weights.

    Raises:
        BackendError: The loss stopped being a number.
    """
    hidden = last_hidden(model, layer, [edit.prompts[0].head], 1)[0].float()
    length = float(hidden.norm())
    tails = make_tails(model, [LocatedPrompt((*p.ids, *edit.answer_ids), p.position) for p in edit.prompts])
    essence = make_tails(model, [edit.essence])[0]
    delta = torch.zeros_like(hidden, requires_grad=True)
    with torch.no_grad():
        base = essence.log_probs(layer, delta, 1)
    optimizer = torch.optim.Adam([delta], lr=settings.lr)
    before = nll = kl = math.nan
    for step in range(settings.steps + 1):
        nll_now = _answer_nll(tails, layer, delta, len(edit.answer_ids))
        kl_now = _divergence(essence.log_probs(layer, delta, 1), base)
        loss = nll_now + settings.kl_factor * kl_now + settings.weight_decay * delta.square().sum() / length**2
        nll, kl = float(nll_now.detach()), float(kl_now.detach())
        before = nll if step == 0 else before
        if not math.isfinite(float(loss.detach())):
            raise BackendError(f"memit: the loss of edit {edit.example_id!r} is {loss}; lower memit.lr")
        if step == settings.steps or float(loss.detach()) < settings.stop_loss:
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            delta.mul_(min(1.0, settings.clamp_norm_factor * length / max(float(delta.norm()), 1e-30)))
    change = float(delta.detach().norm()) / length
    value = tuple((hidden + delta.detach()).tolist())
    return TargetValue(edit.example_id, value, step, before, nll, kl, change)


def _answer_nll(tails: Sequence[Tail], layer: int, delta: torch.Tensor, count: int) -> torch.Tensor:
    """NLL of the last ``count`` ids of every row, the mean over ids and rows, in nats."""
    sums = []
    for tail in tails:
        log_probs = tail.log_probs(layer, delta, count + 1)[:, :-1]
        sums.append(-log_probs.gather(2, tail.ids[:, -count:, None]).sum())
    return torch.stack(sums).sum() / (count * sum(tail.rows for tail in tails))


def _divergence(changed: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """KL(changed ‖ base) of log-probabilities ``[1, 1, vocabulary]``, in nats."""
    return (changed.exp() * (changed - base)).sum()
