"""Which rule gives the per-sample gradient of each parameter of a model; found by looking at one small forward pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Kind = Literal["linear", "embedding", "scale", "replay"]
"""``linear``: G^T A; ``embedding``: rows of G added by token; ``scale``: G times what the weight multiplies;
``replay``: the module alone, once more, by autograd."""

PROBE = (2, 5)
"""Samples and tokens of the pass that is looked at; no parameter of a usual model has these as its first sizes."""


@dataclass(slots=True)
class Rules:
    """How the gradients of a model are had.

    Attributes:
        modules: Modules with a rule of their own: each is called once a pass, on ``[B, T, ...]``.
        names: Names of the parameters of each such module, by attribute (``weight``, ``bias``).
        tied: Name of the parameter that is both input embedding and output layer, or None.
        head: The output layer, if it is a plain linear one that has a rule: it is asked for target positions only.
        rest: Parameters that only a backward pass of one sample at a time gives.
    """

    modules: dict[nn.Module, Kind] = field(default_factory=dict)
    names: dict[nn.Module, dict[str, str]] = field(default_factory=dict)
    tied: str | None = None
    head: nn.Linear | None = None
    rest: dict[str, nn.Parameter] = field(default_factory=dict)


@dataclass(slots=True)
class _Call:
    count: int = 0
    plain: bool = True


def find_rules(model: PreTrainedModel) -> Rules:
    """Look at a model and at one pass through it.

    A module gets a rule if its parameters are used nowhere else and it is called exactly once, with one tensor
    ``[B, T, ...]``, giving one such tensor. Whatever else there is, is left to ``rest``: slower and just as right.
    """
    calls = _watch(model)
    head = model.get_output_embeddings()
    embedding = model.get_input_embeddings()
    users: dict[int, list[tuple[nn.Module, str]]] = defaultdict(list)
    for module in model.modules():
        for attribute, parameter in module._parameters.items():
            if parameter is not None:
                users[id(parameter)].append((module, attribute))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rules = Rules()
    for module, call in calls.items():
        kind = _kind(module) if call.count == 1 and call.plain else None
        if kind is None:
            continue
        own = {a: p for a, p in module._parameters.items() if p is not None}
        uses = [users[id(p)] for p in own.values()]
        shared = [use for use in uses if len(use) > 1]
        if shared and not _is_tied_pair(shared, embedding, head):
            continue
        rules.modules[module] = kind
        rules.names[module] = {a: names[id(p)] for a, p in own.items()}
        if shared:
            rules.tied = names[id(own["weight"])]
    pair = [m for m in (embedding, head) if m in rules.modules]
    if rules.tied is not None and len(pair) < 2:  # one of the two has no rule, so their sum has none
        for module in pair:
            del rules.modules[module], rules.names[module]
        rules.tied = None
    if isinstance(head, nn.Linear) and head in rules.modules:
        rules.head = head
    known = {name for own_names in rules.names.values() for name in own_names.values()}
    rules.rest = {n: p for n, p in model.named_parameters() if n not in known}
    return rules


def _kind(module: nn.Module) -> Kind | None:
    if type(module) is nn.Linear:
        return "linear"
    if type(module) is nn.Embedding:
        plain = module.max_norm is None and not module.scale_grad_by_freq and not module.sparse
        return "embedding" if plain else None
    if next(module.children(), None) is not None or isinstance(module, nn.Embedding):
        return None
    own = [n for n, p in module._parameters.items() if p is not None]
    if type(module).__name__.endswith("RMSNorm") and own == ["weight"] and module.weight.ndim == 1:  # type: ignore[union-attr]
        return "scale"
    return "replay"


def _is_tied_pair(shared: list[list[tuple[nn.Module, str]]], embedding: nn.Module, head: nn.Module | None) -> bool:
    """Whether the only shared parameter is the weight of both the input embedding and the output layer."""
    if len(shared) != 1 or type(embedding) is not nn.Embedding or type(head) is not nn.Linear:
        return False
    return {(id(m), a) for m, a in shared[0]} == {(id(embedding), "weight"), (id(head), "weight")}


@torch.no_grad()
def _watch(model: PreTrainedModel) -> Mapping[nn.Module, _Call]:
    """Calls of every module that has parameters of its own, in one pass over ``PROBE`` tokens."""
    calls = {m: _Call() for m in model.modules() if any(p is not None for p in m._parameters.values())}

    def seen(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        call = calls[module]
        call.count += 1
        call.plain &= len(args) == 1 and not kwargs and _is_batch(args[0]) and _is_batch(output)

    hooks = [m.register_forward_hook(seen, with_kwargs=True) for m in calls]
    try:
        ids = torch.ones(PROBE, dtype=torch.long, device=model.device)
        model(input_ids=ids, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def _is_batch(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.shape[:2] == PROBE
