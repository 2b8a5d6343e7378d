"""Where the samples of a Fisher estimate come from: any mix of JSONL files with prompts and responses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from nemo_mixsd.analysis.nll import Scored
from nemo_mixsd.errors import AnalysisError
from nemo_mixsd.randomness import KeyedRandom

PROMPT_KEYS = ("prompt", "question")
RESPONSE_KEYS = ("response", "target", "answer")


class Encoder(Protocol):
    """Turns texts into token ids."""

    def encode(self, user_message: str) -> tuple[int, ...]:
        """Token ids of a chat that the assistant is about to answer."""
        ...

    def encode_response(self, text: str) -> tuple[int, ...]:
        """Token ids of an answer, ended by the end-of-sequence id."""
        ...


class ChatEncoder:
    """An ``Encoder`` over a tokenizer with a chat template."""

    def __init__(self, tokenizer: Any, chat_template_kwargs: dict[str, Any] | None = None) -> None:
        from nemo_mixsd.prompts import PromptRenderer, PromptTemplates

        self._tokenizer = tokenizer
        self._renderer = PromptRenderer(
            tokenizer, PromptTemplates("{question}", "{context} {question}"), chat_template_kwargs
        )

    def encode(self, user_message: str) -> tuple[int, ...]:
        """See ``Encoder.encode``."""
        return self._renderer.encode(user_message)

    def encode_response(self, text: str) -> tuple[int, ...]:
        """See ``Encoder.encode_response``."""
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return (*ids, int(self._tokenizer.eos_token_id))


def read_samples(paths: Iterable[Path], encoder: Callable[[], Encoder]) -> list[Scored]:
    """Read samples.

    Each line is one of:

    - ``prompt_ids`` and ``token_ids``: targets, reference samples, or records made by hand;
    - ``prompt`` (or ``question``) with ``token_ids``, as in a file of responses;
    - ``prompt`` (or ``question``) with ``response`` (or ``target``, ``answer``): texts, rendered as a chat.

    Args:
        paths: Files to mix; an id that occurs twice gets the file's name before it, and its line if need be.
        encoder: Makes the encoder, if some line holds a text.

    Raises:
        AnalysisError: A file is missing, or a line is no such record or has no tokens.
    """
    made: list[Encoder] = []

    def get() -> Encoder:
        if not made:
            made.append(encoder())
        return made[0]

    samples: dict[str, Scored] = {}
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise AnalysisError(f"cannot read the samples {path}: {error}") from error
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                sample = _parse(json.loads(line), f"{path.stem}-{number}", get)
            except (ValueError, TypeError) as error:
                raise AnalysisError(f"{path}:{number}: {error}") from error
            name = sample.id
            if name in samples:
                name = f"{path.stem}/{sample.id}"
            if name in samples:
                name = f"{path}:{number}"
            samples[name] = Scored(name, sample.prompt_ids, sample.token_ids)
    return list(samples.values())


def _parse(record: Any, default_id: str, encoder: Callable[[], Encoder]) -> Scored:
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    name = str(record.get("id", record.get("example_id", default_id)))
    prompt_ids = _ids(record, "prompt_ids")
    if prompt_ids is None:
        prompt_ids = encoder().encode(_text(record, PROMPT_KEYS, "prompt_ids"))
    token_ids = _ids(record, "token_ids")
    if token_ids is None:
        token_ids = encoder().encode_response(_text(record, RESPONSE_KEYS, "token_ids"))
    if not prompt_ids or not token_ids:
        raise ValueError(f"sample {name!r} has no {'target' if prompt_ids else 'prompt'} tokens")
    return Scored(name, prompt_ids, token_ids)


def _ids(record: dict[str, Any], key: str) -> tuple[int, ...] | None:
    value = record.get(key)
    if value is None or (value == [] and key == "token_ids" and any(k in record for k in RESPONSE_KEYS)):
        return None
    if not isinstance(value, list) or not all(isinstance(i, int) and i >= 0 for i in value):
        raise ValueError(f"{key} is no list of token ids: {str(value)[:60]}")
    return tuple(value)


def _text(record: dict[str, Any], keys: Sequence[str], ids: str) -> str:
    for key in keys:
        if isinstance(record.get(key), str):
            return str(record[key])
    raise ValueError(
        f"neither {ids} nor a text under {' or '.join(keys)}; the line has {', '.join(record) or 'nothing'}"
    )


def choose_samples(samples: Sequence[Scored], count: int | None, seed: int) -> list[Scored]:
    """A random subset of ``count`` samples, the same for the same seed; all, if there are no more than that."""
    if count is None or count >= len(samples):
        return list(samples)
    return KeyedRandom(seed, "fisher").sample(samples, count)
