"""What is installed here, what a run would use, and what is missing: the facts behind ``nemo-mixsd doctor``.

Nothing here raises for something that is not there; that is what the command is for.
"""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from nemo_mixsd import __version__, models
from nemo_mixsd.errors import BackendError, MixSDError

PACKAGES = {"torch": "torch", "transformers": "transformers", "vLLM": "vllm", "Ray": "ray"}
"""Distributions whose versions are shown, by the name people know."""

Line = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found.

    Attributes:
        lines: (what, details), in the order to show.
        missing: What is not there and how to install it, one sentence each.
    """

    lines: tuple[Line, ...]
    missing: tuple[str, ...]


def diagnose() -> Diagnosis:
    """Look at everything once. Imports torch, and NeMo-RL where there is one."""
    missing: list[str] = []
    lines: list[Line] = [*_versions(missing), ("GPUs", _gpus())]
    lines += _host(missing)
    lines += [("bundled models", _bundled(missing)), ("hub cache", _hub_cache())]
    lines += _choices()
    return Diagnosis(tuple(lines), tuple(missing))


def _versions(missing: list[str]) -> Iterator[Line]:
    yield "nemo_mixsd", __version__
    yield "Python", platform.python_version()
    for name, package in PACKAGES.items():
        try:
            yield name, metadata.version(package)
        except metadata.PackageNotFoundError:
            yield name, "not installed"
    if importlib.util.find_spec("vllm") is None:
        missing.append("vLLM, for fast mixing on a GPU: uv sync --extra vllm")


def _gpus() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none"
    names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in names)


def _host(missing: list[str]) -> list[Line]:
    """NeMo-RL, and whether it is what the plugin was written for."""
    from nemo_mixsd.nemo.compat import INSTALL, find_host, require_nemo_rl

    try:
        host = find_host()
    except BackendError as error:
        missing.append(f"NeMo-RL, for backend=nemo_rl: {INSTALL}")
        return [("NeMo-RL", str(error).removesuffix(f": {INSTALL}"))]
    lines = [("NeMo-RL", str(host))]
    try:
        require_nemo_rl()
    except BackendError as error:
        missing.append(f"NeMo-RL's dependencies: {error}")
        return [*lines, ("contract", "not checked: NeMo-RL cannot be imported here")]
    from nemo_mixsd.nemo.contract import CONTRACT, check_contract

    problems = check_contract()
    fits = f"all {len(CONTRACT)} symbols that nemo_mixsd uses are there"
    return [*lines, *(("contract", problem) for problem in problems or [fits])]


def _bundled(missing: list[str]) -> str:
    found = []
    for key, model in models.BUNDLED.items():
        name = f"bundled:{key}"
        try:
            resolved = models.check_model(name)
        except MixSDError:
            found.append(f"{name}: not installed")
            missing.append(f"{name}, for the quickstart: {model.install}")
            continue
        unpacked = (Path(resolved.path) / "config.json").is_file()
        found.append(
            f"{name}: "
            + (f"in {resolved.path}" if unpacked else f"installed, unpacked at first use to {resolved.path}")
        )
    return "; ".join(found)


def _hub_cache() -> str:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    held = sorted(path.name.removeprefix("models--").replace("--", "/") for path in cache.glob("models--*"))
    offline = "; offline (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else ""
    return f"{cache}: {', '.join(held) or 'no models'}{offline}"


def _choices() -> list[Line]:
    """What ``auto`` comes to on this machine."""
    from nemo_mixsd.config import validate_config
    from nemo_mixsd.plan import choose_backend, choose_engine

    config = validate_config(
        {"run_dir": "runs/doctor", "corpus": {"name": "kgfact"}, "policy": {"model_name": "none"}}, "doctor"
    )
    backend = choose_backend(config)
    engine = choose_engine(config, backend)
    return [
        ("mixing.engine=auto", f"{engine.name}: {engine.reason}"),
        ("backend=auto", f"{backend.name}: {backend.reason}"),
    ]
