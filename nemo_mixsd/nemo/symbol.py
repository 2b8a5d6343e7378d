"""One entry of the contract with NeMo-RL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Use = Literal["call", "subclass", "read"]


@dataclass(frozen=True, slots=True)
class Symbol:
    """One thing of the host that the plugin uses.

    Attributes:
        name: ``module:attribute.attribute``.
        use: ``call``: it is called with ``parameters``, so each must be accepted and no further one required;
            ``subclass``: ``parameters`` are the abstract methods that the plugin implements, so no further one may
            be abstract; ``read``: it only has to be there.
        parameters: See ``use``.
        why: What the plugin does with it.
    """

    name: str
    use: Use
    parameters: tuple[str, ...] = ()
    why: str = ""
