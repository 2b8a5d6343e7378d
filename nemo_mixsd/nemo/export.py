"""From a checkpoint as NeMo-RL lays it out to one that ``from_pretrained`` takes, in the same step directory."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

from nemo_mixsd.errors import BackendError
from nemo_mixsd.io import sync_directory
from nemo_mixsd.nemo.compat import find_host

logger = logging.getLogger(__name__)

CONVERTED = "hf"
"""Where a converted Megatron checkpoint goes, inside its step directory."""
_CONVERTER = Path("examples") / "converters" / "convert_megatron_to_hf.py"


def publish(step_directory: Path) -> None:
    """Make ``step_<n>/`` itself loadable with ``from_pretrained``: relative links to the host's weight files.

    The host keeps its own layout (``policy/weights`` and so on), so that it can resume; weights are not copied.
    Megatron checkpoints are converted by the host's own converter first.

    Raises:
        BackendError: There are no weights in Hugging Face format and no way to make them.
    """
    source = find_weights(step_directory) or _convert_megatron(step_directory)
    files = [file for file in source.iterdir() if file.is_file()]
    tokenizer = step_directory / "policy" / "tokenizer"
    if tokenizer.is_dir():
        present = {file.name for file in files}
        files += [file for file in tokenizer.iterdir() if file.is_file() and file.name not in present]
    # config.json marks a complete checkpoint, so it comes last.
    for file in sorted(files, key=lambda file: (file.name == "config.json", file.name)):
        link = step_directory / file.name
        if link.is_symlink():
            link.unlink()
        if not link.exists():  # the host's own config.yaml and training_info.json stay
            link.symlink_to(os.path.relpath(file, step_directory))
    sync_directory(step_directory)


def find_weights(step_directory: Path) -> Path | None:
    """The directory with ``config.json`` and whole safetensors in a step of the in-process or a DTensor policy."""
    for config in sorted((step_directory / "policy" / "weights").rglob("config.json")):
        if list(config.parent.glob("*.safetensors")):
            return config.parent
    converted = step_directory / CONVERTED
    return converted if (converted / "config.json").is_file() else None


def _convert_megatron(step_directory: Path) -> Path:
    weights = step_directory / "policy" / "weights"
    iterations = sorted(weights.glob("iter_*"))
    if not iterations:
        raise BackendError(
            f"{weights} holds neither Hugging Face weights nor a Megatron checkpoint; for DTensor policies set "
            "checkpointing.model_save_format=safetensors and checkpointing.save_consolidated=true"
        )
    target = step_directory / CONVERTED
    command = converter_command(step_directory, iterations[-1], target)
    logger.info("converting %s to Hugging Face format", iterations[-1])
    done = subprocess.run(command, cwd=find_host().path.parent, capture_output=True, text=True, check=False)
    if done.returncode or not (target / "config.json").is_file():
        raise BackendError(
            f"converting {iterations[-1]} failed with code {done.returncode}: {done.stderr.strip()[-500:]}; run it by "
            f"hand, then start the same command again: {' '.join(command)}"
        )
    return target


def converter_command(step_directory: Path, iteration: Path, target: Path) -> list[str]:
    """The host's converter as a command, run from the host's clone: with uv there, for its Megatron environment.

    Raises:
        BackendError: The host is installed without its ``examples``.
    """
    script = find_host().path.parent / _CONVERTER
    if not script.is_file():
        raise BackendError(
            f"the converter {script} is not there: NeMo-RL is installed without its examples; put its clone on "
            "PYTHONPATH, so that Megatron checkpoints can be converted"
        )
    system = os.environ.get("NEMO_RL_PY_EXECUTABLES_SYSTEM") == "1"
    python = [sys.executable] if system else ["uv", "run", "--extra", "mcore", "python"]
    return [
        *python,
        str(script),
        "--config",
        str((step_directory / "config.yaml").absolute()),
        "--megatron-ckpt-path",
        str(iteration.absolute()),
        "--hf-ckpt-path",
        str(target.absolute()),
    ]
