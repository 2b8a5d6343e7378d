"""``targets/<name>.jsonl`` as a NeMo-RL dataset, by the name ``mixsd_targets`` or by its dotted class name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Sequence, Value
from nemo_rl.data.datasets.raw_dataset import RawDataset

from nemo_mixsd.errors import ConfigError, CorpusError
from nemo_mixsd.io import read_jsonl
from nemo_mixsd.mixing.verifier import make_verifier
from nemo_mixsd.nemo.names import PROCESSOR, PROMPT_PROCESSOR
from nemo_mixsd.nemo.processors import mixsd_processor, mixsd_prompt_processor
from nemo_mixsd.types import Example, Target

_PROCESSORS = {PROCESSOR: mixsd_processor, PROMPT_PROCESSOR: mixsd_prompt_processor}
_FEATURES = Features(
    {
        "task_name": Value("string"),
        "example_id": Value("string"),
        "prompt_ids": Sequence(Value("int64")),
        "token_ids": Sequence(Value("int64")),
        "text": Value("string"),
        "answers": Sequence(Value("string")),
        "verifier": Value("string"),
    }
)


class TargetsDataset(RawDataset):  # type: ignore[misc]  # the host is not typed here
    """Training targets of a run, in the order of the file.

    Attributes:
        task_name: What the host files the rows under; also the name of their environment's task.
        dataset: Rows with the features above.
        val_dataset: The held-out part, or None.
    """

    def __init__(
        self,
        data_path: str,
        corpus_path: str | None = None,
        verifier: str = "contains",
        task_name: str = "mixsd",
        split_validation_size: float = 0,
        seed: int = 42,
        **_other: Any,
    ) -> None:
        """Read the targets.

        Args:
            data_path: A ``targets/<name>.jsonl``.
            corpus_path: The ``corpus/<split>.jsonl`` that the targets were made for: where the environment's answers
                come from. Training alone needs none.
            verifier: Which rule the environment judges by.
            task_name: See the class; two datasets in one run need two names.
            split_validation_size: Fraction or number of rows held out for validation; 0 holds out none.
            seed: Of that split.
            _other: Keys of the host's own (``dataset_name``, ``processor``, ``env_name``, ...).

        Raises:
            CorpusError: A file is missing or empty, a line is no target, or a target's example is not in the corpus.
            ConfigError: There is no such verifier.
        """
        make_verifier(verifier)
        self.task_name = task_name
        self.val_dataset = None
        answers = _read_answers(Path(corpus_path)) if corpus_path else None
        rows = list(self._rows(Path(data_path), answers, verifier))
        if not rows:
            raise CorpusError(f"{data_path} holds no targets: every example was discarded, or the stage is unfinished")
        self.dataset = Dataset.from_list(rows, features=_FEATURES)
        self.split_train_validation(split_validation_size, seed)

    def _rows(self, path: Path, answers: dict[str, list[str]] | None, verifier: str) -> Iterator[dict[str, Any]]:
        for target in _read(path, Target):
            if answers is not None and target.example_id not in answers:
                raise CorpusError(f"{path}: the target of example {target.example_id!r}, which corpus_path lacks")
            yield {
                "task_name": self.task_name,
                "example_id": target.example_id,
                "prompt_ids": list(target.prompt_ids),
                "token_ids": list(target.token_ids),
                "text": target.text,
                "answers": answers[target.example_id] if answers is not None else [],
                "verifier": verifier,
            }

    def set_processor(self) -> None:
        """Take the processor that the recipe names; ours if it names none.

        Raises:
            ConfigError: It names one that expects text.
        """
        name = self.data_config.get("processor") or PROCESSOR
        if name not in _PROCESSORS:
            raise ConfigError(
                f"data: processor {name!r} tokenizes text, but targets are token ids; set processor: {PROCESSOR} "
                f"beside dataset_name (or {PROMPT_PROCESSOR} for the prompts alone), not only under data.default"
            )
        self.processor = _PROCESSORS[name]


def _read_answers(path: Path) -> dict[str, list[str]]:
    return {example.id: [example.answer, *example.aliases] for example in _read(path, Example)}


def _read(path: Path, cls: type[Any]) -> Iterator[Any]:
    try:
        yield from read_jsonl(path, cls)
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise CorpusError(str(error)) from error
