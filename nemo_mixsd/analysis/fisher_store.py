"""Where the sums of squared gradients are kept while they grow: beside the model, in host memory, or on disk.

Every parameter is seen as a matrix: its first dimension by all others, a vector as one row.
"""

from __future__ import annotations

import math
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from nemo_mixsd.analysis.tensorfile import Shape
from nemo_mixsd.errors import StorageError

MemoryMode = Literal["device", "host", "disk"]
"""``device``: beside the model; ``host``: in RAM; ``disk``: in a file, one block of a layer in memory at a time."""


def matrix_shape(shape: Shape) -> tuple[int, int]:
    """Rows and columns of a parameter seen as a matrix."""
    if len(shape) < 2:
        return 1, math.prod(shape)
    return shape[0], math.prod(shape[1:])


class SumStore(ABC):
    """Sums by parameter.

    Attributes:
        layout: Shape of each parameter by name.
        dtype: Of the sums: float64 for a float64 model, else float32.
        device: Where blocks are handed out: the model's.
    """

    def __init__(self, layout: Mapping[str, Shape], dtype: torch.dtype, device: torch.device) -> None:
        self.layout = dict(layout)
        self.dtype = dtype
        self.device = device

    @abstractmethod
    def block(self, name: str, start: int, stop: int) -> AbstractContextManager[torch.Tensor]:
        """Rows ``start`` to ``stop`` of a parameter's sums, ``[rows, columns]``, to be added to in place."""

    @abstractmethod
    def add_rows(self, name: str, rows: torch.Tensor, values: torch.Tensor) -> None:
        """Add ``values [n, columns]`` to the distinct rows ``rows [n]`` of a parameter."""

    @abstractmethod
    def read(self, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.floating]]:
        """The sums of one parameter in its own shape; may be a view."""

    @abstractmethod
    def load(self, name: str, sums: torch.Tensor) -> None:
        """Set the sums of one parameter."""

    def close(self) -> None:  # noqa: B027 - nothing to give back, unless a child has it
        """Give memory and files back."""


class MemoryStore(SumStore):
    """Sums in tensors, on the model's device or on the host."""

    def __init__(
        self, layout: Mapping[str, Shape], dtype: torch.dtype, device: torch.device, place: torch.device
    ) -> None:
        super().__init__(layout, dtype, device)
        self._sums = {n: torch.zeros(matrix_shape(s), dtype=dtype, device=place) for n, s in layout.items()}
        self._place = place
        self._here = place.type == device.type

    @contextmanager
    def block(self, name: str, start: int, stop: int) -> Iterator[torch.Tensor]:
        """See ``SumStore.block``."""
        view = self._sums[name][start:stop]
        if self._here:
            yield view
            return
        added = torch.zeros(view.shape, dtype=self.dtype, device=self.device)
        yield added
        view += added.to(self._place)

    def add_rows(self, name: str, rows: torch.Tensor, values: torch.Tensor) -> None:
        """See ``SumStore.add_rows``."""
        self._sums[name].index_add_(0, rows.to(self._place), values.to(self._place))

    def read(self, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.floating]]:
        """See ``SumStore.read``."""
        return self._sums[name].cpu().numpy().reshape(self.layout[name])

    def load(self, name: str, sums: torch.Tensor) -> None:
        """See ``SumStore.load``."""
        self._sums[name].copy_(sums.reshape(self._sums[name].shape))


class DiskStore(SumStore):
    """Sums in a raw file without a name, so that nothing is left of it when this process ends, however it ends."""

    def __init__(self, layout: Mapping[str, Shape], dtype: torch.dtype, device: torch.device, folder: Path) -> None:
        """Make the file, all zeros.

        Raises:
            StorageError: There is no room for it.
        """
        super().__init__(layout, dtype, device)
        self._kind = np.dtype(np.float64 if dtype == torch.float64 else np.float32)
        self._folder = folder
        self._offsets: dict[str, int] = {}
        end = 0
        for name, shape in layout.items():
            self._offsets[name] = end
            end += math.prod(shape) * self._kind.itemsize
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()
            self._fd = self._file.fileno()
            os.posix_fallocate(self._fd, 0, max(end, 1))
        except OSError as error:
            raise StorageError(
                f"no room for {end / 2**30:.1f} GiB of sums in {folder}: {error.strerror}; free space, choose another "
                "place, or another memory mode"
            ) from error

    def _at(self, name: str, row: int) -> int:
        return self._offsets[name] + row * matrix_shape(self.layout[name])[1] * self._kind.itemsize

    def _get(self, name: str, start: int, stop: int) -> torch.Tensor:
        columns = matrix_shape(self.layout[name])[1]
        values = np.empty((stop - start, columns), self._kind)
        view, offset = values.data.cast("B"), self._at(name, start)
        while view:
            count = os.preadv(self._fd, [view], offset)
            if count == 0:
                raise StorageError(f"the file of sums in {self._folder} was cut off; start again")
            view, offset = view[count:], offset + count
        return torch.from_numpy(values)

    def _put(self, name: str, start: int, values: torch.Tensor) -> None:
        view, offset = values.contiguous().numpy().data.cast("B"), self._at(name, start)
        try:
            while view:
                count = os.pwrite(self._fd, view, offset)
                view, offset = view[count:], offset + count
        except OSError as error:
            raise StorageError(
                f"cannot write sums in {self._folder}: {error.strerror}; free space and start again"
            ) from error

    @contextmanager
    def block(self, name: str, start: int, stop: int) -> Iterator[torch.Tensor]:
        """See ``SumStore.block``."""
        if self.device.type == "cpu":
            values = self._get(name, start, stop)
            yield values
            self._put(name, start, values)
            return
        columns = matrix_shape(self.layout[name])[1]
        added = torch.zeros((stop - start, columns), dtype=self.dtype, device=self.device)
        yield added
        self._put(name, start, self._get(name, start, stop) + added.cpu())

    def add_rows(self, name: str, rows: torch.Tensor, values: torch.Tensor) -> None:
        """See ``SumStore.add_rows``."""
        for row, value in zip(rows.tolist(), values.cpu(), strict=True):
            self._put(name, row, self._get(name, row, row + 1) + value)

    def read(self, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.floating]]:
        """See ``SumStore.read``."""
        return self._get(name, 0, matrix_shape(self.layout[name])[0]).numpy().reshape(self.layout[name])

    def load(self, name: str, sums: torch.Tensor) -> None:
        """See ``SumStore.load``."""
        self._put(name, 0, sums.to(self.dtype).cpu())

    def close(self) -> None:
        """Close the file, and with it delete it."""
        self._file.close()


def make_store(
    memory: MemoryMode, layout: Mapping[str, Shape], dtype: torch.dtype, device: torch.device, folder: Path
) -> SumStore:
    """A store of the chosen kind.

    Args:
        memory: Where the sums live.
        layout: Shape of each parameter by name.
        dtype: Of the sums.
        device: The model's.
        folder: Where the file of ``disk`` has its place.
    """
    if memory == "disk":
        return DiskStore(layout, dtype, device, folder)
    return MemoryStore(layout, dtype, device, device if memory == "device" else torch.device("cpu"))
