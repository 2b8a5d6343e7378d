"""The last token of the subject within a prompt, on token ids.

The prompt is rendered once, by the renderer that every other part uses; here it is only found out which of its ids
holds the subject's last character.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemo_mixsd.editing.edits import Edit
from nemo_mixsd.errors import PromptError
from nemo_mixsd.prompts import PromptRenderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class LocatedPrompt:
    """A prompt as token ids.

    Attributes:
        ids: Of the whole prompt, generation prompt included.
        position: Index into ``ids`` of the token that holds the subject's last character.
    """

    ids: tuple[int, ...]
    position: int

    @property
    def head(self) -> tuple[int, ...]:
        """The ids up to and including the subject's last token; what comes later cannot change its hidden state."""
        return self.ids[: self.position + 1]


def locate_edit(renderer: PromptRenderer, edit: Edit, prefix: str = "") -> LocatedPrompt:
    """The naive prompt of an edit, with ``prefix`` before it within the user message.

    Raises:
        PromptError: The chat template or the tokenizer changes the text so that the subject is not found again.
    """
    message = renderer.naive_text(edit.question)
    start = message.find(edit.question)
    if start < 0:  # a template that changes the question; str.format cannot
        raise PromptError(f"edit {edit.example_id!r}: its naive prompt {message!r} does not hold its question")
    before = f"{prefix} " if prefix else ""
    span = (len(before) + start + edit.span[0], len(before) + start + edit.span[1])
    return locate(renderer, before + message, span, edit.example_id)


def locate(renderer: PromptRenderer, message: str, span: tuple[int, int], name: str) -> LocatedPrompt:
    """Render a user message and find the token that holds the last character of ``span``.

    Args:
        renderer: Applies the chat template.
        message: The user message.
        span: Half-open range of characters in ``message``.
        name: Whom to name in an error.

    Raises:
        PromptError: As for ``locate_edit``.
    """
    text = renderer.render(message)
    content = message.strip()  # what templates that trim leave of it
    start = text.rfind(content)
    if start < 0:
        raise PromptError(f"edit {name!r}: the chat template changes the user message, so its subject is not found")
    shift = start - (len(message) - len(message.lstrip()))
    ids, position = last_token(renderer.tokenizer, text, (span[0] + shift, span[1] + shift))
    if position is None:
        raise PromptError(f"edit {name!r}: no token of the prompt holds {message[slice(*span)]!r}")
    return LocatedPrompt(ids, position)


def last_token(
    tokenizer: PreTrainedTokenizerBase, text: str, span: tuple[int, int]
) -> tuple[tuple[int, ...], int | None]:
    """The ids of ``text``, without special tokens added, and which of them holds the last character of ``span``.

    Where a character is spread over several tokens (bytes), the last of them counts; where the token reaches beyond
    the span, it counts all the same.

    Returns:
        The ids, and an index into them or None.
    """
    if not getattr(tokenizer, "is_fast", False):
        return _last_token_by_decoding(tokenizer, text, span)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    hits = [i for i, (a, b) in enumerate(encoded["offset_mapping"]) if a < span[1] <= b]
    return tuple(encoded["input_ids"]), hits[-1] if hits else None


def _last_token_by_decoding(
    tokenizer: PreTrainedTokenizerBase, text: str, span: tuple[int, int]
) -> tuple[tuple[int, ...], int | None]:
    """For tokenizers that tell no offsets: the first id up to which the text decodes to all of the span.

    Blanks are left out of the comparison, for decoding may add or drop them.
    """
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    wanted = "".join(text[: span[1]].split())
    for i in range(len(ids)):
        decoded = str(tokenizer.decode(list(ids[: i + 1]), clean_up_tokenization_spaces=False))
        if "".join(decoded.split()).startswith(wanted):
            return ids, i
    return ids, None
