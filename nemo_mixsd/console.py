"""What every command shares: errors in one line, logging to stderr."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from rich.console import Console
from rich.logging import RichHandler

from nemo_mixsd.errors import MixSDError

P = ParamSpec("P")
R = TypeVar("R")

BAD_INPUT = 2
"""Exit status for an error that the user can mend."""
INTERRUPTED = 130
"""Exit status after Ctrl-C."""


def one_line_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Turn our errors into one line on stderr and exit status 2, and Ctrl-C into a word of comfort."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except MixSDError as error:
            Console(stderr=True, soft_wrap=True).print(f"error: {error}", style="red", markup=False, highlight=False)
            raise SystemExit(BAD_INPUT) from None
        except KeyboardInterrupt:
            Console(stderr=True).print("interrupted; the same command goes on where this one stopped", style="yellow")
            raise SystemExit(INTERRUPTED) from None

    return wrapped


def setup_logging(verbose: bool) -> None:
    """Our own messages at INFO on stderr, other libraries at WARNING; with ``verbose`` everything."""
    if sys.stderr.isatty():
        handler: logging.Handler = RichHandler(console=Console(stderr=True), show_path=False, markup=False)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("nemo_mixsd").setLevel(logging.DEBUG if verbose else logging.INFO)
