"""Safetensors files, streamed: written parameter by parameter, read slice by slice, never whole in memory."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from nemo_mixsd.errors import AnalysisError
from nemo_mixsd.io import atomic_writer

FileDtype = Literal["F32", "F64"]
"""What this package writes; it reads whatever torch knows."""

Shape = tuple[int, ...]

_NUMPY: dict[FileDtype, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


def write_tensors(
    path: Path,
    layout: Mapping[str, Shape],
    dtype: FileDtype,
    read: Callable[[str], np.ndarray[Any, Any]],
    metadata: Mapping[str, str],
) -> None:
    """Write a safetensors file atomically; ``read`` is asked for one tensor at a time, in the order of ``layout``.

    Args:
        path: The file; what was there before stays until the new one is whole.
        layout: Shape of each tensor by name.
        dtype: Of every tensor.
        read: Gives a tensor of that shape by name.
        metadata: Texts kept in the header.

    Raises:
        AnalysisError: ``read`` gave a value that is no finite number.
        StorageError: Writing failed.
    """
    kind = _NUMPY[dtype]
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, shape in layout.items():
        start, end = end, end + kind.itemsize * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_writer(path, "wb") as handle:
        handle.write(struct.pack("<Q", len(text)) + text)
        for name, shape in layout.items():
            values = np.ascontiguousarray(read(name), dtype=kind).reshape(shape)
            if not np.isfinite(values).all():
                raise AnalysisError(f"{path}: the values of {name} are not finite; nothing was written")
            handle.write(values.data if values.ndim else values.tobytes())


class TensorFiles:
    """The tensors of one safetensors file, or of several that an index joins. Reads headers at once, data on demand."""

    def __init__(self, files: Mapping[str, Path], where: Path) -> None:
        """Open the files.

        Args:
            files: The file of each tensor by name; every name of a file that is not named is left out.
            where: What messages call the whole.

        Raises:
            AnalysisError: A file is missing, cut off, or lacks a tensor that it is to hold.
        """
        self.where = where
        self._handles: dict[Path, Any] = {}
        self._files = dict(files)
        self.shapes: dict[str, Shape] = {}
        for name, file in self._files.items():
            handle = self._open(file)
            try:
                self.shapes[name] = tuple(handle.get_slice(name).get_shape())
            except SafetensorError as error:
                raise AnalysisError(f"{where}: {file.name} does not hold {name} as its index says") from error

    @classmethod
    def of_file(cls, path: Path) -> TensorFiles:
        """Every tensor of one file.

        Raises:
            AnalysisError: It is missing, no safetensors file, or cut off.
        """
        opened = cls({}, path)
        names = opened._open(path).keys()
        return cls(dict.fromkeys(names, path), path)

    @property
    def metadata(self) -> dict[str, str]:
        """Texts of the header, if it is one file."""
        return dict(self._open(self.where).metadata() or {})

    def _open(self, file: Path) -> Any:
        if file not in self._handles:
            if not file.is_file():
                raise AnalysisError(f"{self.where}: the file {file.name} is missing; copy it there, or save again")
            try:
                self._handles[file] = safe_open(file, framework="pt")
            except (SafetensorError, OSError) as error:
                raise AnalysisError(
                    f"{file} is cut off or no safetensors file ({error}); delete it and make it again"
                ) from error
        return self._handles[file]

    def whole(self, name: str) -> torch.Tensor:
        """One tensor, in its own dtype."""
        return self._open(self._files[name]).get_tensor(name)  # type: ignore[no-any-return]

    def slices(self, name: str, size: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """A tensor by runs of its first dimension, of about ``size`` values each; a scalar or vector of it whole."""
        shape = self.shapes[name]
        if len(shape) < 2:
            yield slice(0, None), self.whole(name)
            return
        rows = max(1, size // max(1, int(np.prod(shape[1:], dtype=np.int64))))
        view = self._open(self._files[name]).get_slice(name)
        for start in range(0, shape[0], rows):
            run = slice(start, min(start + rows, shape[0]))
            yield run, view[run]

    def rows(self, name: str, run: slice) -> torch.Tensor:
        """Rows of a tensor that ``slices`` of another one with the same shape named."""
        if len(self.shapes[name]) < 2:
            return self.whole(name)
        return self._open(self._files[name]).get_slice(name)[run]  # type: ignore[no-any-return]

    def close(self) -> None:
        """Let go of the files."""
        self._handles.clear()


@contextmanager
def opened(files: TensorFiles) -> Iterator[TensorFiles]:
    """Close ``files`` at the end of a block."""
    try:
        yield files
    finally:
        files.close()
