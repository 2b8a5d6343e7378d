"""Naive and expert prompts as token ids. The chat template is applied here, once, and nowhere else."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nemo_mixsd.errors import PromptError
from nemo_mixsd.types import Example, MixRequest, PromptStyle

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class PromptTemplates:
    """The user messages of the two conditionals, as ``str.format`` templates.

    Attributes:
        naive: Placeholder ``{question}``.
        expert: Placeholders ``{question}``, ``{context}``, ``{answer}``, ``{target}``.
        system: System message of both, or None for the chat template's own default.
    """

    naive: str
    expert: str
    system: str | None = None

    def __post_init__(self) -> None:
        _check_placeholders("naive_template", self.naive, {"question"}, needs={"question"})
        allowed = {"question", "context", "answer", "target"}
        _check_placeholders("expert_template", self.expert, allowed, needs={"question"})
        fields = _placeholders(self.expert)
        if not fields & {"context", "answer", "target"}:
            raise PromptError(
                "prompts.expert_template shows neither {context} nor {answer} nor {target}: the expert would know no "
                "more than the naive prompt"
            )


def choose_templates(
    style: PromptStyle, naive: str | None = None, expert: str | None = None, system: str | None = None
) -> PromptTemplates:
    """The templates of a style, with those of the recipe in their place.

    Raises:
        PromptError: A template has an unknown placeholder or lacks one that it needs.
    """
    default = DEFAULT_TEMPLATES[style]
    return PromptTemplates(naive or default.naive, expert or default.expert, system)


def _placeholders(template: str) -> set[str]:
    try:
        return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise PromptError(f"prompt template {template!r}: {error}; write a literal brace as {{{{ or }}}}") from error


def _check_placeholders(key: str, template: str, allowed: set[str], needs: set[str]) -> None:
    found = _placeholders(template)
    unknown = sorted(found - allowed)
    if unknown:
        raise PromptError(
            f"prompts.{key}: unknown placeholder {{{unknown[0]}}}; allowed: "
            f"{', '.join('{' + name + '}' for name in sorted(allowed))}; a literal brace is written {{{{ or }}}}"
        )
    if needs - found:
        raise PromptError(f"prompts.{key} does not contain {{{next(iter(needs - found))}}}")


DEFAULT_TEMPLATES: Final[dict[PromptStyle, PromptTemplates]] = {
    "fact": PromptTemplates(
        naive="{question}",
        expert="{context}\n\n{question}",
    ),
    "solution": PromptTemplates(
        naive="{question}",
        expert=(
            "{question}\n\n"
            "For your eyes only, here is a correct worked solution:\n{context}\n\n"
            "Now solve the task in your own words, step by step, as if you had found the way yourself. Do not mention "
            "that a solution was given. Put the final answer in \\boxed{{}}."
        ),
    ),
}
"""What is used where the recipe has no template of its own."""


class PromptRenderer:
    """Renders examples through a tokenizer's chat template, with the generation prompt, to token ids."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        templates: PromptTemplates,
        template_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Keep a tokenizer with a chat template.

        Args:
            tokenizer: As ``models.load_tokenizer`` gives it.
            templates: User messages of both prompts.
            template_kwargs: Variables for the chat template. ``enable_thinking`` is false unless given here;
                templates that do not know it ignore it.
        """
        self.tokenizer = tokenizer
        self.templates = templates
        self._kwargs = {"enable_thinking": False, **(template_kwargs or {})}

    def naive_text(self, question: str) -> str:
        """The user message of the naive prompt."""
        return self.templates.naive.format(question=question)

    def expert_text(self, example: Example) -> str:
        """The user message of the expert prompt."""
        return self.templates.expert.format(
            question=example.question, context=example.context, answer=example.answer, target=example.target
        )

    def render(self, user_message: str) -> str:
        """One user message as a chat that the assistant is about to answer, as text with its special tokens."""
        messages = [{"role": "user", "content": user_message}]
        if self.templates.system is not None:
            messages.insert(0, {"role": "system", "content": self.templates.system})
        return str(
            self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **self._kwargs)
        )

    def encode(self, user_message: str) -> tuple[int, ...]:
        """Token ids of one user message as a chat that the assistant is about to answer."""
        return tuple(self.tokenizer(self.render(user_message), add_special_tokens=False)["input_ids"])

    def naive_ids(self, question: str) -> tuple[int, ...]:
        """Token ids of the naive prompt: what the student sees, in training and in evaluation."""
        return self.encode(self.naive_text(question))

    def request(self, example: Example) -> MixRequest:
        """Both prompts of an example as token ids."""
        return MixRequest(
            example_id=example.id,
            naive_ids=self.naive_ids(example.question),
            expert_ids=self.encode(self.expert_text(example)),
            answer=example.answer,
            aliases=example.aliases,
        )

    def requests(self, examples: Iterable[Example], max_total_tokens: int) -> Iterator[MixRequest]:
        """Both prompts of each example, checked against the length limit.

        Raises:
            PromptError: A prompt leaves no room for a single new token; the text names the example.
        """
        for example in examples:
            request = self.request(example)
            for kind, ids in (("naive", request.naive_ids), ("expert", request.expert_ids)):
                if len(ids) >= max_total_tokens:
                    raise PromptError(
                        f"example {example.id!r}: its {kind} prompt has {len(ids)} tokens, the limit "
                        f"mixing.max_total_tokens is {max_total_tokens}; shorten its context or raise the limit"
                    )
            yield request

    def decode(self, token_ids: Iterable[int]) -> str:
        """Token ids as text for people, without special tokens."""
        return str(self.tokenizer.decode(list(token_ids), skip_special_tokens=True))
