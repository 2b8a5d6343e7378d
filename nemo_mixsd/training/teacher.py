"""The contextual teacher: the expert prompt in place of the naive one, the student's response verbatim behind it.

Index logic only; both backends use it. With P tokens of naive prompt, E of expert prompt and R of response, the
student's sequence is ``naive + response`` (length P + R) and the teacher's ``expert + response`` (E + R). The student's
position s, which predicts token s + 1, is the teacher's position s + E - P, for s from P - 1 to P + R - 1.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nemo_mixsd.errors import CorpusError, PromptError
from nemo_mixsd.prompts import PromptRenderer
from nemo_mixsd.randomness import KeyedRandom
from nemo_mixsd.training.distill_config import LongContext, OpsdConfig
from nemo_mixsd.types import Example

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TeacherPrompt:
    """Both prompts of an example.

    Attributes:
        example_id: ``Example.id``.
        naive_ids: ``[P]`` what the student sees.
        expert_ids: ``[E]`` what the teacher sees.
        answers: The example's own accepted answers, also where the teacher sees another's.
    """

    example_id: str
    naive_ids: tuple[int, ...]
    expert_ids: tuple[int, ...]
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TeacherRow:
    """One sequence of the student as the teacher reads it.

    Attributes:
        ids: ``[E + R]`` token ids.
        naive_length: P.
        shift: E - P, from the student's positions to the teacher's.
    """

    ids: tuple[int, ...]
    naive_length: int
    shift: int

    @property
    def first(self) -> int:
        """The student's position that predicts the first token of the response."""
        return self.naive_length - 1

    @property
    def end(self) -> int:
        """One more than the student's last position: P + R."""
        return len(self.ids) - self.shift


def teacher_row(prompt: TeacherPrompt, response: Sequence[int]) -> TeacherRow:
    """The teacher's sequence for a response to the naive prompt."""
    naive, expert = prompt.naive_ids, prompt.expert_ids
    return TeacherRow((*expert, *response), len(naive), len(expert) - len(naive))


def stack(rows: Sequence[TeacherRow], pad_id: int, multiple: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """The teacher's batch: ``[B, S']`` int64 ids padded on the right to a multiple, and ``[B]`` int64 lengths."""
    lengths = [len(row.ids) for row in rows]
    width = -(-max(lengths) // multiple) * multiple
    ids = torch.full((len(rows), width), pad_id, dtype=torch.int64)
    for i, row in enumerate(rows):
        ids[i, : lengths[i]] = torch.tensor(row.ids, dtype=torch.int64)
    return ids, torch.tensor(lengths, dtype=torch.int64)


def onto_student(values: torch.Tensor, rows: Sequence[TeacherRow], width: int) -> torch.Tensor:
    """Move what the teacher says back to where the student is.

    Args:
        values: ``[B, S', ...]`` by the teacher's positions.
        rows: ``[B]``.
        width: S, the width of the student's batch.

    Returns:
        ``[B, S, ...]``: positions P - 1 to P + R - 1 of each row are the teacher's; all others are 0, which is finite
        and outside every loss.
    """
    out = values.new_zeros((values.shape[0], width, *values.shape[2:]))
    for i, row in enumerate(rows):
        out[i, row.first : row.end] = values[i, row.first + row.shift : row.end + row.shift]
    return out


def teacher_prompts(
    examples: Sequence[Example], renderer: PromptRenderer, opsd: OpsdConfig, max_total_tokens: int
) -> list[TeacherPrompt]:
    """Both prompts of every training example, with the recipe's control and its way with long contexts.

    Args:
        examples: The training examples.
        renderer: Makes prompts.
        opsd: ``shuffled_context``, ``max_expert_tokens``, ``on_long_context``, ``seed``.
        max_total_tokens: Longest sequence of the model; a prompt must leave room for one token.

    Raises:
        PromptError: A prompt is too long, and the recipe does not say how to cut it or cutting does not help.
        CorpusError: Contexts cannot be shuffled so that each example gets another answer.
    """
    seen = shuffle_contexts(examples, opsd.seed) if opsd.shuffled_context else list(examples)
    limit = min(opsd.max_expert_tokens or max_total_tokens, max_total_tokens - 1)
    out: list[TeacherPrompt] = []
    cut: list[str] = []
    for example, shown in zip(examples, seen, strict=True):
        naive = renderer.naive_ids(example.question)
        if len(naive) >= max_total_tokens:
            raise PromptError(
                f"example {example.id!r}: its naive prompt has {len(naive)} tokens, the limit is {max_total_tokens}"
            )
        expert = renderer.encode(renderer.expert_text(shown))
        if len(expert) > limit:
            expert = _cut_context(shown, renderer, limit, opsd.on_long_context)
            cut.append(example.id)
        out.append(TeacherPrompt(example.id, naive, expert, (example.answer, *example.aliases)))
    if cut:
        logger.warning(
            "%d of %d expert prompts are longer than %d tokens; their contexts %s (%s, ...)",
            len(cut), len(out), limit, opsd.on_long_context.replace("_", " its ").replace("keep", "keep only"), cut[0],
        )  # fmt: skip
    return out


def _cut_context(example: Example, renderer: PromptRenderer, limit: int, how: LongContext) -> tuple[int, ...]:
    """The expert prompt with as much of the context's head or tail as fits."""
    length = len(renderer.encode(renderer.expert_text(example)))
    if how == "error":
        raise PromptError(
            f"example {example.id!r}: its expert prompt has {length} tokens, the limit is {limit} "
            "(opsd.max_expert_tokens, mixing.max_total_tokens); raise the limit, shorten the context, or set "
            "opsd.on_long_context to keep_head or keep_tail"
        )
    ids = list(renderer.tokenizer(example.context, add_special_tokens=False)["input_ids"])
    keep = len(ids)
    while True:
        keep -= max(1, length - limit)
        if keep < 1:
            raise PromptError(
                f"example {example.id!r}: its expert prompt does not fit {limit} tokens even without its context; "
                "raise opsd.max_expert_tokens"
            )
        context = renderer.decode(ids[:keep] if how == "keep_head" else ids[-keep:])
        prompt = renderer.encode(renderer.expert_text(dataclasses.replace(example, context=context)))
        length = len(prompt)
        if length <= limit:
            return prompt


def shuffle_contexts(examples: Sequence[Example], seed: int) -> list[Example]:
    """Each example with the context, answer and target of another one that has another answer; its question stays.

    A function of the examples and the seed alone.

    Raises:
        CorpusError: More than half of the examples have one answer, so that some would keep it.
    """
    random = KeyedRandom("shuffled-context", seed)
    groups: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        groups.setdefault(example.answer, []).append(i)
    answers = list(groups)
    random.shuffle(answers)
    for answer in answers:
        random.shuffle(groups[answer])
    order = [i for answer in answers for i in groups[answer]]
    # Equal answers stand side by side, so a turn by the largest group moves every example to another answer.
    turn = max(map(len, groups.values()), default=0)
    if 2 * turn > len(order):
        answer = max(groups, key=lambda a: len(groups[a]))
        raise CorpusError(
            f"opsd.shuffled_context: {turn} of {len(order)} examples have the answer {answer!r}; each example needs "
            "another one's with another answer. Drop the control, or choose a corpus with more answers"
        )
    out = list(examples)
    for place, i in enumerate(order):
        other = examples[order[(place + turn) % len(order)]]
        out[i] = dataclasses.replace(
            examples[i], context=other.context, answer=other.answer, target=other.target, aliases=other.aliases
        )
    return out
