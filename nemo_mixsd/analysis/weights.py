"""The weights of a checkpoint in Hugging Face format: which file holds which parameter, tied ones once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nemo_mixsd import models
from nemo_mixsd.analysis.tensorfile import TensorFiles
from nemo_mixsd.errors import AnalysisError, ModelNotFoundError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_INPUT = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight", "tok_embeddings.weight")
_OUTPUT = ("lm_head.weight", "embed_out.weight")


def checkpoint_directory(name: str) -> Path:
    """The directory of a model: one on disk, ``bundled:NAME``, or a hub id that is in the hub cache.

    Raises:
        ModelNotFoundError: It is not to be had here.
    """
    resolved = models.resolve_model(name)
    if resolved.source != "hub":
        return Path(resolved.path)
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors"]
    try:
        return Path(snapshot_download(resolved.path, allow_patterns=patterns, local_files_only=True))
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(
            f"the weights of {name} are not in the hub cache; get them: hf download {name} --local-dir DIR, and name "
            "that directory"
        ) from error


def open_checkpoint(directory: Path) -> TensorFiles:
    """Open the weights of a checkpoint, one file or several with an index, without reading them.

    Where the configuration ties input and output embeddings, they are one parameter, under the input's name, also if
    the files hold both.

    Raises:
        AnalysisError: There are no safetensors, one that the index names is missing, or one is cut off.
    """
    config = _read(directory / "config.json", directory)
    index = directory / INDEX
    if index.is_file():
        names = _read(index, directory).get("weight_map", {})
        files = {name: directory / file for name, file in names.items()}
    elif (directory / WEIGHTS).is_file():
        single = TensorFiles.of_file(directory / WEIGHTS)
        files = dict.fromkeys(single.shapes, directory / WEIGHTS)
        single.close()
    else:
        raise AnalysisError(f"{directory} has neither {WEIGHTS} nor {INDEX}; save the model as safetensors")
    if _is_tied(config, directory) and any(name.endswith(_INPUT) for name in files):
        files = {name: file for name, file in files.items() if not name.endswith(_OUTPUT)}
    return TensorFiles(files, directory)


def _is_tied(config: dict[str, Any], directory: Path) -> bool:
    """Whether input and output embeddings are one; a default that the file leaves out is the model class's."""
    for section in (config, config.get("text_config") or {}):
        if "tie_word_embeddings" in section:
            return bool(section["tie_word_embeddings"])
    from transformers import AutoConfig

    try:
        return bool(AutoConfig.from_pretrained(directory).tie_word_embeddings)
    except (OSError, ValueError, AttributeError, KeyError):  # a model type that this version does not know
        return False


def _read(path: Path, directory: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnalysisError(f"{directory} is no checkpoint: it has no {path.name}") from error
    except ValueError as error:
        raise AnalysisError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise AnalysisError(f"{path} is damaged: it is no JSON object")
    return content
