"""The second moment of the keys over ordinary text: C = E[k kᵀ], a matrix a layer, collected once and kept.

Text is streamed; products are taken in float32 and summed in float64. Every ``chunk`` samples the sums are saved, so
that a killed collection goes on from there with the same result to the bit. Finished moments lie in a cache for all
runs, under a digest of the model and one of the text; each file carries a digest of its content, and one that does not
match it is collected again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from nemo_mixsd.editing.states import read_keys
from nemo_mixsd.editing.texts import TextSource
from nemo_mixsd.errors import BackendError, StorageError
from nemo_mixsd.io import sync_directory
from nemo_mixsd.mixing.journal import fingerprint
from nemo_mixsd.progress import track
from nemo_mixsd.prompts import PromptRenderer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

_PROBE = "A probe, to tell tokenizers apart: Zürich 1984."
_SAMPLED = 512
"""Values of each parameter that the digest of a model looks at."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Where the moments of a model and a text lie."""

    directory: Path

    def path(self, layer: int) -> Path:
        """The file of a layer."""
        return self.directory / f"layer_{layer}.safetensors"

    def load(self, layer: int) -> torch.Tensor:
        """C of a layer, ``[intermediate, intermediate]`` float32.

        Raises:
            BackendError: The file is missing or damaged; ``collect_moments`` comes first.
        """
        found = _load(self.path(layer))
        if found is None:
            raise BackendError(f"memit: {self.path(layer)} is missing or damaged; start the same command again")
        return found[0]["moment"]


def model_digest(model: PreTrainedModel, renderer: PromptRenderer) -> str:
    """A digest of the weights, by a sample of every parameter, and of the tokenizer, by a probe."""
    hasher = hashlib.blake2b(digest_size=12)
    for name, parameter in model.state_dict().items():
        flat = parameter.detach().reshape(-1)
        stride = max(1, flat.numel() // _SAMPLED)
        hasher.update(f"{name}{tuple(parameter.shape)}{parameter.dtype}".encode())
        hasher.update(flat[::stride][:_SAMPLED].double().cpu().numpy().tobytes())
    probe = renderer.tokenizer(_PROBE)["input_ids"]
    hasher.update(fingerprint(list(probe)).encode())
    return hasher.hexdigest()


def collect_moments(
    model: PreTrainedModel, layers: Sequence[int], source: TextSource, renderer: PromptRenderer, moments: Moments
) -> None:
    """See to it that the moments of all ``layers`` lie in the cache; only what is missing or damaged is collected.

    Args:
        model: The base model, in evaluation mode.
        layers: 0-based.
        source: Ordinary text.
        renderer: For its tokenizer.
        moments: Where they lie.

    Raises:
        BackendError: The source has no text.
        StorageError: The cache cannot be written.
    """
    missing = [layer for layer in layers if _load(moments.path(layer)) is None]
    if not missing:
        return
    state = _Sums.resume(moments.directory / f"partial_{fingerprint(missing)}.safetensors", missing)
    config = source.config
    rows = source.rows(renderer, state.done)
    with track("covariance", config.samples, "samples", state.done) as task:
        while chunk := list(islice(rows, config.chunk)):
            for batch in _batches(chunk, config.batch_size):
                state.add(read_keys(model, missing, batch))
                task.advance(len(batch))
            state.done += len(chunk)
            state.save()
    if not state.tokens:
        raise BackendError("memit.covariance: the source has no text")
    for layer in missing:
        moment = (state.sums[layer] / state.tokens).float().cpu()
        _save(moments.path(layer), {"moment": moment}, {"tokens": str(state.tokens), "samples": str(state.done)})
    state.path.unlink(missing_ok=True)


class _Sums:
    """Sums of k kᵀ in float64, and how far they have come."""

    def __init__(self, path: Path, sums: dict[int, torch.Tensor], tokens: int, done: int) -> None:
        self.path = path
        self.sums = sums
        self.tokens = tokens
        self.done = done

    @classmethod
    def resume(cls, path: Path, layers: Sequence[int]) -> _Sums:
        found = _load(path)
        if found is None:
            return cls(path, {}, 0, 0)
        tensors, metadata = found
        logger.info("covariance: going on from sample %s", metadata["done"])
        sums = {layer: tensors[str(layer)] for layer in layers}
        return cls(path, sums, int(metadata["tokens"]), int(metadata["done"]))

    def add(self, keys: Mapping[int, torch.Tensor]) -> None:
        for layer, found in keys.items():
            k = found.float()
            product = (k.T @ k).double()
            self.sums[layer] = self.sums[layer].to(product.device).add_(product) if layer in self.sums else product
        self.tokens += len(k)

    def save(self) -> None:
        tensors = {str(layer): total for layer, total in self.sums.items()}
        _save(self.path, tensors, {"tokens": str(self.tokens), "done": str(self.done)})


def _batches(chunk: list[tuple[int, ...]], size: int) -> Iterator[list[tuple[int, ...]]]:
    """Samples of like length together, so that little is padding."""
    ordered = sorted((row for row in chunk if row), key=len)
    return (ordered[start : start + size] for start in range(0, len(ordered), size))


def _digest(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    hasher = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        hasher.update(name.encode())
        hasher.update(tensors[name].numpy().data)
    for key in sorted(metadata):
        hasher.update(f"{key}={metadata[key]}".encode())
    return hasher.hexdigest()


def _save(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write a file with its digest, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    temp: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temp = Path(name)
        save_file(plain, temp, {**metadata, "digest": _digest(plain, metadata)})
        with temp.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temp, path)
        temp = None
        sync_directory(path.parent)
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"cannot write {path}: {error}; free space or set memit.covariance.cache_dir, then start the same command "
            "again: it goes on from the last chunk"
        ) from error
    finally:
        if temp is not None:
            temp.unlink(missing_ok=True)


def _load(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]] | None:
    """Tensors and metadata of a whole file; None, and no file, if it is missing or damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            # copied: what lies in a mapped file is lost, and the process with it, if somebody cuts the file short
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
        if metadata.pop("digest", None) == _digest(tensors, metadata):
            return tensors, metadata
        reason = "its content does not match its digest"
    except (OSError, SafetensorError) as error:
        reason = str(error)
    logger.warning("%s is damaged (%s) and is made again", path, reason)
    path.unlink(missing_ok=True)
    return None
