"""Which layers are edited, and the matrices in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nemo_mixsd.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

PAPER_LAYERS: Final[dict[tuple[str, int, int], tuple[int, int]]] = {
    ("qwen3", 28, 2048): (3, 11),
    ("qwen3", 36, 2560): (4, 14),
    ("qwen3", 36, 4096): (5, 14),
}
"""Model type, layers and hidden size of Qwen3-1.7B, -4B and -8B, and the ranges of E.5, 0-based and inclusive."""


def default_layers(model_type: str, layers: int, hidden_size: int) -> tuple[int, int]:
    """The paper's range for its models; for others the rule of thumb that it follows: from 1/9 to 0.39 of the depth."""
    rule = (round(layers / 9), max(round(layers / 9), round(0.39 * layers)))
    return PAPER_LAYERS.get((model_type, layers, hidden_size), (rule[0], min(rule[1], layers - 1)))


def choose_layers(asked: tuple[int, int] | None, model_config: Any) -> tuple[int, int]:
    """The range of a recipe, checked against a model, or the default one.

    Args:
        asked: ``memit.layers``.
        model_config: The configuration of a transformers model.

    Raises:
        ConfigError: The model has no such layer.
    """
    text = model_config.get_text_config()
    count = int(text.num_hidden_layers)
    if asked is None:
        return default_layers(str(text.model_type), count, int(text.hidden_size))
    if asked[1] >= count:
        raise ConfigError(f"memit.layers is {list(asked)}, but the model has {count} layers, 0 to {count - 1}")
    return asked


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The transformer layers of a model of the Llama or Qwen families.

    Raises:
        BackendError: The model is built otherwise.
    """
    layers: nn.ModuleList | None = getattr(model.get_decoder(), "layers", None)
    if layers is None:
        raise _unsupported(model, "no list of layers")
    return layers


def down_proj(model: PreTrainedModel, layer: int) -> nn.Linear:
    """The matrix that MEMIT edits in a layer; its weight is ``[hidden, intermediate]``, its input are the keys.

    Raises:
        BackendError: The layer has none: another family, or a mixture of experts.
    """
    from torch import nn

    found = getattr(getattr(decoder_layers(model)[layer], "mlp", None), "down_proj", None)
    if not isinstance(found, nn.Linear):
        raise _unsupported(model, f"layer {layer} has no dense mlp.down_proj")
    return found


def _unsupported(model: PreTrainedModel, what: str) -> BackendError:
    return BackendError(
        f"method memit edits models of the Llama and Qwen families with dense MLPs; {type(model).__name__} is none "
        f"({what}). Leave memit out of method"
    )
