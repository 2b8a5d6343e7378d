"""The ``analysis`` section of a recipe: what is computed about targets and checkpoints."""

from __future__ import annotations

from pydantic import Field

from nemo_mixsd.section import Section


class AnalysisConfig(Section):
    """What is computed about targets."""

    target_nll: bool = True
    """Per-token NLL of the targets under the base model (Eq. 3)."""
    batch_size: int = Field(16, ge=1)
    """Sequences scored at the same time."""
