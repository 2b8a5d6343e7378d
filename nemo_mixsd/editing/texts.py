"""Ordinary text for the covariance: WikiText, a file, or what the base model itself writes.

A source yields token ids, sample by sample, in a fixed order, from any sample on.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_mixsd.editing.config import CovarianceConfig
from nemo_mixsd.editing.topics import FORMS, TOPICS
from nemo_mixsd.errors import BackendError, ConfigError
from nemo_mixsd.evals.forgetting import ReferenceSample, ReferenceSet, sample_reference
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.mixing.engines.base import Sampling
from nemo_mixsd.mixing.journal import fingerprint
from nemo_mixsd.prompts import PromptRenderer
from nemo_mixsd.randomness import KeyedRandom

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WIKITEXT = ("Salesforce/wikitext", "wikitext-103-raw-v1", "train")
"""Data set, configuration and split on the hub."""


class TextSource(ABC):
    """Samples of ordinary text."""

    def __init__(self, config: CovarianceConfig) -> None:
        self.config = config

    @property
    @abstractmethod
    def key(self) -> str:
        """A short digest of everything that decides the samples, but the tokenizer."""

    @abstractmethod
    def check(self) -> None:
        """Read the first sample.

        Raises:
            ConfigError: A file is missing or wrong.
            BackendError: The hub cannot be reached.
        """

    @abstractmethod
    def rows(self, renderer: PromptRenderer, start: int) -> Iterator[tuple[int, ...]]:
        """Token ids of the samples from number ``start`` on, each of ``memit.covariance.max_tokens`` at most."""

    def _tokenized(self, texts: Iterator[str], renderer: PromptRenderer, start: int) -> Iterator[tuple[int, ...]]:
        for text in islice(texts, start, self.config.samples):
            ids = renderer.tokenizer(text, truncation=True, max_length=self.config.max_tokens)["input_ids"]
            yield tuple(ids)


class FileText(TextSource):
    """The user's own text: a JSONL file with a ``text`` a line, or paragraphs of a text file."""

    @property
    def path(self) -> Path:
        """The file."""
        return Path(str(self.config.path)).expanduser()

    @property
    def key(self) -> str:
        """By the file's content."""
        with self.path.open("rb") as handle:
            content = hashlib.file_digest(handle, "sha256").hexdigest()
        return fingerprint("file", content, self.path.suffix == ".jsonl", self.config.samples, self.config.max_tokens)

    def check(self) -> None:
        """See ``TextSource``."""
        if next(self._texts(), None) is None:
            raise ConfigError(f"memit.covariance.path: {self.path} holds no text")

    def rows(self, renderer: PromptRenderer, start: int) -> Iterator[tuple[int, ...]]:
        """See ``TextSource``."""
        return self._tokenized(self._texts(), renderer, start)

    def _texts(self) -> Iterator[str]:
        try:
            with self.path.open(encoding="utf-8") as handle:
                yield from self._lines(handle) if self.path.suffix == ".jsonl" else _paragraphs(handle)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"memit.covariance.path: cannot read {self.path} as UTF-8 text: {error}") from error

    def _lines(self, handle: Any) -> Iterator[str]:
        for number, line in enumerate(handle, start=1):
            if not line.strip():
                continue
            try:
                text = json.loads(line)["text"]
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(f'{self.path}:{number}: not a JSON object with a "text": {line[:60]!r}') from error
            if not isinstance(text, str):
                raise ConfigError(f'{self.path}:{number}: the "text" is no string: {text!r}')
            if text.strip():
                yield text


def _paragraphs(handle: Any) -> Iterator[str]:
    lines: list[str] = []
    for line in handle:
        if line.strip():
            lines.append(line.strip())
        elif lines:
            yield " ".join(lines)
            lines = []
    if lines:
        yield " ".join(lines)


class WikiText(TextSource):
    """WikiText-103, its paragraphs in order and without headings, streamed from the hub (or the hub's cache)."""

    @property
    def key(self) -> str:
        """By the data set's name and the counts."""
        return fingerprint("wikitext", WIKITEXT, self.config.samples, self.config.max_tokens)

    def check(self) -> None:
        """See ``TextSource``."""
        next(self._texts(), None)

    def rows(self, renderer: PromptRenderer, start: int) -> Iterator[tuple[int, ...]]:
        """See ``TextSource``."""
        return self._tokenized(self._texts(), renderer, start)

    def _texts(self) -> Iterator[str]:
        name, configuration, split = WIKITEXT
        try:
            from datasets import load_dataset

            for row in load_dataset(name, configuration, split=split, streaming=True):
                text = row["text"].strip()
                if text and not text.startswith("= "):
                    yield text
        except Exception as error:  # the client's transport, and with it the errors, differs from version to version
            raise BackendError(
                f"memit.covariance.source=wikitext: {name} cannot be read from the hub ({type(error).__name__}: "
                f"{str(error)[:120]}). Use memit.covariance.source=base_model (the model's own text, no network; set "
                "memit.covariance.samples to some hundreds), or source=file with memit.covariance.path"
            ) from error


class BaseModelText(TextSource):
    """Chats of the base model about everyday topics, which are not those that forgetting is measured on.

    They are sampled at temperature 1, kept in the cache, and counted with their prompts.
    """

    def __init__(self, config: CovarianceConfig, seed: int) -> None:
        super().__init__(config)
        self._seed = seed
        self.path: Path | None = None

    @property
    def key(self) -> str:
        """By prompts, seed and counts."""
        return fingerprint("base_model", self.prompts(), self._seed, self.config.max_tokens)

    def prompts(self) -> tuple[tuple[str, str], ...]:
        """(id, user message) of every sample."""
        pairs = [form.format(topic=topic) for form in FORMS for topic in TOPICS]
        KeyedRandom("memit", "topics", self._seed).shuffle(pairs)
        return tuple((f"memit-text-{i:06d}", pairs[i % len(pairs)]) for i in range(self.config.samples))

    def check(self) -> None:
        """There is nothing that could be missing."""

    def generate(self, model: PreTrainedModel, renderer: PromptRenderer, stop_ids: frozenset[int], path: Path) -> None:
        """Write the samples to ``path``, or go on where a killed run stopped."""
        from nemo_mixsd.mixing.engines.hf import HFEngine

        self.path = path
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = HFEngine(model, stop_ids, Sampling(1.0, None, self._seed), slots=2 * self.config.batch_size)
        reference = ReferenceSet(self.prompts(), 1, self.config.max_tokens, 2 * self.config.batch_size)
        sample_reference(engine, renderer, reference, path)
        engine.close()

    def rows(self, renderer: PromptRenderer, start: int) -> Iterator[tuple[int, ...]]:
        """See ``TextSource``; ``generate`` comes first."""
        assert self.path is not None
        for sample in islice(read_jsonl(self.path, ReferenceSample), start, None):
            yield (*sample.prompt_ids, *sample.token_ids)


def make_source(config: CovarianceConfig, seed: int) -> TextSource:
    """The source that a recipe names."""
    if config.source == "base_model":
        return BaseModelText(config, seed)
    return FileText(config) if config.source == "file" else WikiText(config)
