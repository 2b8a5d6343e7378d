"""``python -m nemo_mixsd.nemo SCRIPT ARGUMENTS``: run a script of NeMo-RL's own with our parts registered.

So ``run_sft.py`` and ``run_distillation.py`` of the host take recipes with ``mixsd_processor``, ``mixsd_targets`` and
``env_name: mixsd`` without an edit. In a script of your own, call ``nemo_mixsd.nemo.register()`` in its place.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from nemo_mixsd.errors import MixSDError
from nemo_mixsd.nemo import register


def main(arguments: list[str]) -> int:
    """Register, then run the script as if it were started itself.

    Args:
        arguments: The script and its arguments.

    Returns:
        0, or 2 for a usage error, a missing script or a missing host.
    """
    if not arguments or not Path(arguments[0]).is_file():
        sys.stderr.write("usage: python -m nemo_mixsd.nemo SCRIPT [ARGUMENT...], SCRIPT e.g. examples/run_sft.py\n")
        return 2
    try:
        register()
    except MixSDError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.argv = arguments
    sys.path.insert(0, str(Path(arguments[0]).resolve().parent))  # as Python does for the script it is started with
    runpy.run_path(arguments[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
