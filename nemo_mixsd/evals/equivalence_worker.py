"""The process that compares expressions with math-verify; started by ``evals.equivalence``, imports nothing of ours.

It reads JSON lines ``[gold, given, seconds]`` and writes ``true``, ``false`` or ``null`` (no decision in that time).
The kernel ends it when one comparison uses much more CPU than it was given, also where no signal handler gets to run
(a huge power is one instruction to Python) and also when the parent is gone.
"""

from __future__ import annotations

import json
import logging
import resource
import signal
import sys
import warnings

MEMORY = 4 * 2**30
"""Bytes of address space: a runaway expansion is an error here, not the end of the machine."""


def compare(gold: str, given: str, seconds: float) -> bool | None:
    """Whether two LaTeX expressions are equal; None if that cannot be found out in time or memory."""
    from math_verify import parse, verify
    from math_verify.errors import TimeoutException

    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + seconds) + 2, hard))
    signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        left = parse(f"${gold}$", parsing_timeout=None)
        right = parse(f"${given}$", parsing_timeout=None)
        return bool(verify(left, right, timeout_seconds=None, strict=True))
    except (_TooLongError, TimeoutException, MemoryError, RecursionError):
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class _TooLongError(BaseException):
    """Passes through the ``except Exception`` of the libraries."""


def _too_long(*_: object) -> None:
    raise _TooLongError


def main() -> None:
    """Answer until the input ends."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    for line in sys.stdin:
        gold, given, seconds = json.loads(line)
        answers.write(json.dumps(compare(gold, given, seconds)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
