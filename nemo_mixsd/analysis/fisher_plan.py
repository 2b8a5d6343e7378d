"""What ``analysis.fisher`` asks for, checked and described before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nemo_mixsd.analysis.config import FisherConfig
from nemo_mixsd.errors import ConfigError

if TYPE_CHECKING:
    from nemo_mixsd.config import RunConfig

REFERENCE = "reference"
"""Source: the base model's own samples, on which forgetting is measured."""
TARGETS = "targets/"
"""Source: the targets of a method, by report name (``targets/sft``)."""


def check_fisher(config: RunConfig, names: list[str]) -> None:
    """Refuse sources that cannot be there, before anything is loaded.

    Args:
        config: The recipe.
        names: Report names of methods that have targets.

    Raises:
        ConfigError: Names the source and the choices.
    """
    settings = config.analysis.fisher
    if not settings.enabled:
        return
    for source in settings.source:
        if source == REFERENCE:
            if not config.evals.forgetting.enabled:
                raise ConfigError(
                    "analysis.fisher.source: 'reference' needs the base model's samples; set "
                    "evals.forgetting.enabled=true, or name a JSONL file"
                )
        elif source.startswith(TARGETS):
            if source.removeprefix(TARGETS) not in names:
                known = ", ".join(TARGETS + name for name in names) or "none"
                raise ConfigError(f"analysis.fisher.source: no {source!r} in this run; there is {known}")
        elif not Path(source).is_file():
            raise ConfigError(
                f"analysis.fisher.source: there is no file {source!r}; name a JSONL file, 'reference' or "
                "'targets/<method>'"
            )


def fisher_line(settings: FisherConfig) -> str:
    """The plan's line."""
    count = "all samples" if settings.samples is None else f"up to {settings.samples} samples"
    return f"{count} of {', '.join(settings.source)}, sums on {settings.memory}; displacement of every checkpoint"
