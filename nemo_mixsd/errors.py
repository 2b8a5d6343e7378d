"""One family of errors. Each child is also the standard-library type a caller would expect to catch."""

from __future__ import annotations


class MixSDError(Exception):
    """Base of every error that this package raises on purpose. The text names the place and the remedy."""


class ConfigError(MixSDError, ValueError):
    """A recipe or an override is wrong; the text names the key, the value and what would be accepted."""


class CorpusError(MixSDError, ValueError):
    """A corpus cannot be read or contradicts itself; the text names file and line, or the example."""


class BenchmarkError(MixSDError, ValueError):
    """The data of a benchmark cannot be had or read; the text names file and line, and where else it may lie."""


class ScoringError(MixSDError, RuntimeError):
    """A scorer or judge failed on a response; the text names the record. A failed judgement is never a wrong answer."""


class PromptError(MixSDError, ValueError):
    """A prompt cannot be built: no chat template, an unknown placeholder, or too many tokens."""


class ModelNotFoundError(MixSDError, FileNotFoundError):
    """A model is neither bundled, nor a directory, nor to be had from the hub."""


class EngineError(MixSDError, RuntimeError):
    """The generating engine refused or died; the text names the example it was working on."""


class RunDirectoryError(MixSDError, FileExistsError):
    """A run directory belongs to another configuration or is in use by another process."""


class StorageError(MixSDError, OSError):
    """Writing a file failed (full disk, no permission); the file it was to replace is as it was."""


class JournalError(MixSDError, ValueError):
    """A journal does not belong to this stage or is damaged beyond its last line."""


class BackendError(MixSDError, RuntimeError):
    """The training backend that the recipe asks for is not to be had on this machine."""


class AnalysisError(MixSDError, ValueError):
    """Checkpoints, a Fisher file or samples do not fit together or are damaged; the text names file and parameter."""


class SandboxError(MixSDError, RuntimeError):
    """The sandbox for programs failed itself; that is no verdict on the program."""


def shown(value: object, limit: int = 60) -> str:
    """``value`` as it appears in an error: its repr, cut to ``limit`` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
