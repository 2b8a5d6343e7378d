"""The NeMo-RL plugin: all that imports ``nemo_rl``, and nothing else does.

Importing this package does not import the host. ``register()`` does, and says what to install where it is missing.
"""

from __future__ import annotations

from nemo_mixsd.nemo.compat import Host, find_host, host_version, require_nemo_rl

__all__ = ["Host", "find_host", "host_version", "register", "require_nemo_rl"]


def register() -> None:
    """Make processors, datasets and the environment known to NeMo-RL; a second call changes nothing.

    Raises:
        BackendError: NeMo-RL is not there or not supported; a name is taken by something else.
    """
    from nemo_mixsd.nemo.registration import register as register_all

    register_all()
