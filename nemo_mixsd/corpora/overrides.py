"""From ``key=value`` on the command line to a checked corpus configuration."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from nemo_mixsd.corpora.base import Corpus, CorpusConfig
from nemo_mixsd.corpora.columns import hint
from nemo_mixsd.errors import ConfigError, shown


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Nested values of ``key=value`` texts; a leading ``corpus.`` is allowed, as recipes write keys with it.

    Raises:
        ConfigError: A text has no ``=`` or its value is no YAML.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    out: Any = OmegaConf.create()
    for text in overrides:
        key, separator, _ = text.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"{text!r} is no override; write key=value, like limit=100")
        try:
            out = OmegaConf.merge(out, OmegaConf.from_dotlist([text.removeprefix("corpus.")]))
        except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"override {text!r} cannot be read ({reason}); quote its value, like key='\"...\"'"
            ) from error
    values = OmegaConf.to_container(out, resolve=False)
    return {str(key): value for key, value in values.items()} if isinstance(values, dict) else {}


def corpus_config(name: str, overrides: Sequence[str], registry: Mapping[str, type[Corpus[Any]]]) -> CorpusConfig:
    """The configuration of the corpus ``name``; a name that ends in ``.jsonl`` is a file for the corpus ``jsonl``.

    Raises:
        ConfigError: There is no such corpus, or a key or value is wrong; the text is one line.
    """
    values = parse_overrides(overrides)
    if name.endswith(".jsonl"):
        values.setdefault("path", name)
        name = "jsonl"
    if name not in registry:
        near = difflib.get_close_matches(name, list(registry), n=1)
        raise ConfigError(
            f"no corpus {name!r}; {f'did you mean {near[0]!r}? ' if near else ''}"
            f"Choose one of {', '.join(registry)}, or give a .jsonl file"
        )
    given = values.pop("name", name)
    if given != name:
        raise ConfigError(f"corpus.name is {shown(given)}, but the command says {name!r}; leave the override out")
    config_type = registry[name].config_type
    try:
        return config_type.model_validate({"name": name, **values})
    except ValidationError as error:
        raise one_line(error, "corpus", config_type) from error


def one_line(error: ValidationError, section: str, model: type[CorpusConfig]) -> ConfigError:
    """A pydantic error as one line that names each key, its value and what is accepted."""
    return ConfigError("; ".join(_describe(item, section, model) for item in error.errors()))


def _describe(item: Any, section: str, model: type[CorpusConfig]) -> str:
    path = ".".join([section, *(str(part) for part in item["loc"] if part != "[key]")])
    if item["type"] == "extra_forbidden":
        known = list(model.model_fields)
        return f"{path}: unknown key; {hint(str(item['loc'][-1]), known)}known keys: {', '.join(known)}"
    if item["type"] == "missing":
        return f"{path}: the key is required; add {item['loc'][-1]}=..."
    message = item["msg"].removeprefix("Value error, ")
    return f"{path}: {message}" + ("" if not item["loc"] else f" (it is {shown(item['input'])})")
