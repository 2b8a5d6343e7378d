"""Is a usable NeMo-RL there, and which? The only place that knows host versions.

Nothing here imports ``nemo_rl`` before it is known to be the real one: the distribution of that name on PyPI is an
empty placeholder, and importing the host takes seconds and sets up logging.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nemo_mixsd.errors import BackendError

Line = Literal["release", "main"]

OLDEST = (0, 7, 0)
"""The oldest supported release, and the pinned one."""

INSTALL = (
    "clone https://github.com/NVIDIA-NeMo/RL at tag v0.7.0 with --recurse-submodules, then, inside the clone, "
    "'uv sync' and 'uv pip install -e PATH_OF_NEMO_MIXSD'; without installing it, put the clone on PYTHONPATH. "
    "See docs/nemo_rl.md. Or set backend=local, which needs no NeMo-RL"
)
"""What every error about a missing host says to do."""

_MAIN_MARKER = ("utils/checkpoint.py", "def begin_finalization")
"""File and text that main has and no release up to v0.7 has: main carries an older number than the release."""


@dataclass(frozen=True, slots=True)
class Host:
    """A NeMo-RL that can be used.

    Attributes:
        version: As its package says it, ``0.7.0``.
        line: ``release``, or ``main`` for a checkout newer than the last supported release.
        path: Directory of the ``nemo_rl`` package.
    """

    version: str
    line: Line
    path: Path

    def __str__(self) -> str:
        """``NeMo-RL 0.7.0 (release, /path/to/nemo_rl)``."""
        return f"NeMo-RL {self.version} ({self.line}, {self.path})"


def find_host() -> Host:
    """Find NeMo-RL without importing it.

    Raises:
        BackendError: It is absent, the empty placeholder of PyPI, or a version that is not supported; the text says
            what to install and how.
    """
    spec = importlib.util.find_spec("nemo_rl")
    if spec is None or not spec.submodule_search_locations:
        raise BackendError(f"NeMo-RL is not installed here (no module nemo_rl): {INSTALL}")
    path = Path(next(iter(spec.submodule_search_locations)))
    if not (path / "algorithms" / "sft.py").is_file():
        raise BackendError(
            f"the nemo_rl in {path} is the empty placeholder that PyPI carries under the name nemo-rl, not NeMo-RL: "
            f"'pip uninstall nemo-rl', then {INSTALL}"
        )
    version = _read_version(path / "package_info.py")
    if _is_main(path):
        return Host(_dotted(version), "main", path)
    if version < OLDEST or version[:2] > OLDEST[:2]:
        raise BackendError(
            f"the NeMo-RL in {path} is version {_dotted(version)}; supported are v0.7.x and main: {INSTALL}"
        )
    return Host(_dotted(version), "release", path)


def host_version() -> str | None:
    """The version of a usable NeMo-RL, or None; never raises."""
    try:
        host = find_host()
    except BackendError:
        return None
    return host.version if host.line == "release" else f"{host.version}+main"


def require_nemo_rl() -> Host:
    """Find NeMo-RL and import its SFT loop.

    Raises:
        BackendError: As ``find_host``; also where one of the host's own dependencies is not installed.
    """
    host = find_host()
    try:
        importlib.import_module("nemo_rl.algorithms.sft")
    except ModuleNotFoundError as error:
        raise BackendError(
            f"{host} is there, but its dependency {error.name!r} is not installed in this environment: run 'uv sync' "
            "inside its clone and start from that environment"
        ) from error
    except ImportError as error:
        raise BackendError(
            f"{host} cannot be imported: {error}; its dependencies do not fit together in this environment: run "
            "'uv sync' inside its clone and start from that environment"
        ) from error
    return host


def _read_version(file: Path) -> tuple[int, int, int]:
    """MAJOR, MINOR and PATCH as ``package_info.py`` assigns them."""
    numbers: dict[str, int] = {}
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError) as error:
        raise BackendError(f"cannot read the version of NeMo-RL from {file}: {error}; {INSTALL}") from error
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name) and isinstance(node.value.value, int):
                    numbers[target.id] = node.value.value
    return numbers.get("MAJOR", 0), numbers.get("MINOR", 0), numbers.get("PATCH", 0)


def _is_main(path: Path) -> bool:
    file, text = _MAIN_MARKER
    try:
        return text in (path / file).read_text(encoding="utf-8")
    except OSError:
        return False


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))
