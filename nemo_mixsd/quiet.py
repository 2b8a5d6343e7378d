"""Keeps other libraries' chatter out of ours."""

from __future__ import annotations

import os
import warnings


def quiet_libraries(verbose: bool) -> None:
    """Silence progress bars and advice of transformers and its friends, unless ``verbose``."""
    if verbose:
        return
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module="torch|transformers|accelerate")
