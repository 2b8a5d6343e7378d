"""Puts a real NeMo-RL on the path: ``$NEMO_RL_HOME``, else ``~/NeMo-RL``, else what is installed.

Without one, the modules that need it are skipped with the reason.
"""

import os
import sys
from pathlib import Path

import pytest
import torch

from nemo_mixsd.errors import BackendError
from nemo_mixsd.nemo.compat import require_nemo_rl

torch.set_num_threads(1)  # models are tiny, and threads that wait for each other are slow on a busy machine
os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).parent
NEEDS_NO_HOST = {"test_compat.py"}


def _put_host_on_path() -> str | None:
    """Return why there is no host, or None if there is one."""
    checkout = Path(os.environ.get("NEMO_RL_HOME") or Path.home() / "NeMo-RL")
    if (checkout / "nemo_rl").is_dir():
        sys.path.insert(0, str(checkout))
    # Ray's worker processes import the host and this repository too; ours first, for the host has a "tests" as well.
    paths = [str(HERE.parent.parent), str(checkout), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    try:
        require_nemo_rl()
    except BackendError as error:
        return f"NEMO_RL_HOME={checkout}: {error}"
    return None


REASON = _put_host_on_path()


class _SkippedModule(pytest.Module):
    def collect(self):
        pytest.skip(str(REASON), allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    if REASON and module_path.is_relative_to(HERE) and module_path.name not in NEEDS_NO_HOST:
        return _SkippedModule.from_parent(parent, path=module_path)
    return None


@pytest.fixture(scope="session")
def ray_cluster():
    """A local Ray of two CPUs, as small as it gets."""
    import ray

    options = {
        "num_cpus": 2,
        "num_gpus": 0,
        "include_dashboard": False,
        "object_store_memory": 80 * 2**20,
        "configure_logging": False,
        "log_to_driver": False,
    }
    for attempt in range(3):
        try:
            ray.init(**options)
            break
        except Exception:  # Ray gives its processes 30 seconds to start, which a busy machine may not keep
            ray.shutdown()
            if attempt == 2:
                raise
    yield ray
    ray.shutdown()
