"""Recipes: YAML with ``defaults:`` inheritance and Hydra-style overrides, in the grammar that NeMo-RL reads too."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nemo_mixsd.errors import ConfigError

OVERRIDE_MARKER = "_override_"
"""A mapping with this key set to true replaces its parent's section in place of merging into it."""


def nearest(key: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the closest known key, or an empty string."""
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a recipe with its parents, apply overrides and resolve interpolations.

    Args:
        path: The recipe's YAML file.
        overrides: ``key=value``, ``+key=value`` (a key that the recipe does not have) or ``~key`` (delete), in
            Hydra's grammar: ``mixing.rate=[0,0.3]``, ``policy.optimizer.kwargs.lr=1e-5``.

    Raises:
        ConfigError: A file is missing or not YAML, an override does not parse, an interpolation does not resolve.
    """
    _register_resolvers()
    config = _load_with_parents(Path(path), ())
    for override in overrides:
        _apply_override(config, override)
    try:
        return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).replace(" full_key:", ", at key").replace(" object_type=dict", "")


def _register_resolvers() -> None:
    """The arithmetic that NeMo-RL's recipes use in interpolations."""
    resolvers: dict[str, Callable[..., Any]] = {"mul": operator.mul, "div": operator.truediv, "max": max}
    for name, function in resolvers.items():
        if not OmegaConf.has_resolver(name):
            OmegaConf.register_new_resolver(name, function)


def _load_with_parents(path: Path, children: tuple[Path, ...]) -> DictConfig:
    if path.resolve() in children:
        raise ConfigError(f"{path}: 'defaults' goes round in a circle ({' -> '.join(map(str, children))})")
    try:
        config = OmegaConf.load(path)
    except FileNotFoundError as error:
        by = f", which {children[-1]} names in 'defaults'" if children else ""
        raise ConfigError(f"recipe {path} does not exist{by}") from error
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: not a YAML recipe: {_one_line(error)}") from error
    if not isinstance(config, DictConfig):
        raise ConfigError(f"{path}: a recipe is a mapping of sections, this file holds a {type(config).__name__}")
    if "defaults" not in config:
        return config
    parents = config.pop("defaults")
    names = list(parents) if isinstance(parents, ListConfig) else [] if parents is None else [parents]
    merged = OmegaConf.create({})
    for name in names:
        parent = _load_with_parents(path.parent / str(name), (*children, path.resolve()))
        merged = _merge(merged, parent)
    return _merge(merged, config)


def _merge(base: DictConfig, child: DictConfig) -> DictConfig:
    for key in list(child.keys()):
        section = child._get_node(key)
        if isinstance(section, DictConfig) and not section._is_none() and section.get(OVERRIDE_MARKER, False):
            section.pop(OVERRIDE_MARKER)
            base.pop(key, None)
    try:
        return cast(DictConfig, OmegaConf.merge(base, child))
    except OmegaConfBaseException as error:
        raise ConfigError(f"a recipe does not fit its 'defaults': {_one_line(error)}") from error


def _apply_override(config: DictConfig, text: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        raise ConfigError(
            f"override {text!r} does not parse: write key=value, with lists as key=[a,b] and quotes around text "
            "with spaces or brackets"
        ) from error
    if override.is_sweep_override():
        raise ConfigError(f"override {text!r} is a sweep; write a list, {override.key_or_group}=[...], to run each")
    key = override.key_or_group
    if override.is_delete():
        _delete(config, key, text)
        return
    value = override.value()
    try:
        OmegaConf.update(config, key, value, merge=isinstance(value, dict), force_add=True)
    except (OmegaConfBaseException, TypeError, KeyError) as error:
        raise ConfigError(f"override {text!r} cannot be applied: {_one_line(error)}") from error


def _delete(config: DictConfig, key: str, text: str) -> None:
    parent_key, _, leaf = key.rpartition(".")
    parent = OmegaConf.select(config, parent_key) if parent_key else config
    if not isinstance(parent, DictConfig) or leaf not in parent:
        raise ConfigError(f"override {text!r}: the recipe has no key {key!r}")
    parent.pop(leaf)


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``; lists are values."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    out: dict[str, Any] = {}
    for key, item in value.items():
        out.update(flatten(item, f"{prefix}.{key}" if prefix else str(key)))
    return out
