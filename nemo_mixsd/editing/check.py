"""What can be said and refused of an edit before a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_mixsd.editing.config import MemitConfig
from nemo_mixsd.editing.edits import collect_edits, name_skipped
from nemo_mixsd.editing.layers import choose_layers
from nemo_mixsd.types import Example

if TYPE_CHECKING:
    from nemo_mixsd.models import ResolvedModel

_SOURCES = {
    "wikitext": "paragraphs of WikiText-103 from the hub",
    "file": "samples of {path}",
    "base_model": "chats written by the base model",
}


def plan_line(settings: MemitConfig, model: ResolvedModel, examples: Sequence[Example]) -> str:
    """What ``method=memit`` is going to do, for people.

    Args:
        settings: The section ``memit``.
        model: The base model.
        examples: The training split.

    Raises:
        CorpusError: Edits contradict each other, or none can be made.
        ConfigError: The model has no such layers, or the text for the covariance is missing or no text.
    """
    edits, skipped = collect_edits(examples)
    text = settings.covariance
    if text.source == "file":
        from nemo_mixsd.editing.texts import FileText

        FileText(text).check()
    described = f"{text.samples} {_SOURCES[text.source].format(path=text.path)}"
    return (
        f"{len(edits)} edits at once into down_proj of {_layers(settings, model)}, covariance over {described}; in "
        f"this process, whatever the backend{name_skipped(skipped)}"
    )


def _layers(settings: MemitConfig, model: ResolvedModel) -> str:
    if model.source != "hub" and not (Path(model.path) / "config.json").is_file():  # bundled, not unpacked yet
        return "layers by the model's depth" if settings.layers is None else "layers {}-{}".format(*settings.layers)
    from transformers import AutoConfig

    first, last = choose_layers(settings.layers, AutoConfig.from_pretrained(model.path))
    return f"layers {first}-{last}"


def check_text(settings: MemitConfig) -> None:
    """Refuse a text for the covariance that cannot be had, unless moments over it are in the cache already.

    Raises:
        ConfigError: A file is missing or wrong.
        BackendError: The hub cannot be reached.
    """
    from nemo_mixsd.editing.memit import cache_directory
    from nemo_mixsd.editing.texts import make_source

    source = make_source(settings.covariance, settings.seed)
    if not any(cache_directory(settings).glob(f"*/{source.key}/layer_*.safetensors")):
        source.check()
