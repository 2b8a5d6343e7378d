"""Runs programs that a model wrote where they can do no harm; used to score code benchmarks.

Each program runs in a process of its own, in a fresh directory, with an empty environment, limits on CPU, memory,
files, processes, output and time, without a network and without the user's files. What the kernel grants for this is
found out once by trying it (``find_isolation``); what it does not grant must be allowed by name in the recipe.
The verdict does not rest on the program's exit status or output; see ``sandbox_child``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import selectors
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from nemo_mixsd.errors import ConfigError, SandboxError
from nemo_mixsd.evals.sandbox_limits import Isolation, SandboxConfig, SandboxLimits, SandboxResult

__all__ = [
    "Isolation",
    "SandboxConfig",
    "SandboxLimits",
    "SandboxResult",
    "check_sandbox",
    "describe_sandbox",
    "find_isolation",
    "run_program",
]

logger = logging.getLogger(__name__)

CHILD = Path(__file__).with_name("sandbox_child.py")
GRACE = 30.0
"""Seconds beyond its time limit after which a program's supervisor is given up: starting takes time when busy."""
TAIL = 2000
"""Characters of output that are kept."""
FIRST_USER = 2_000_000_000
"""Run as root, each program gets a user id of its own from here on, which no account has."""
NOBODY = 65534


def check_sandbox(config: SandboxConfig, what: str = "evals.benchmarks: humaneval") -> Isolation:
    """Refuse to run programs unless the recipe allows it, and names what cannot be closed to them here.

    Args:
        config: The ``evals.sandbox`` section.
        what: What needs the sandbox, for the text.

    Raises:
        ConfigError: A consent is missing; names its key.
    """
    if not config.allow:
        raise ConfigError(
            f"{what} runs programs that the model wrote. They are confined (docs/evaluation.md, Sandbox), and run only "
            "with evals.sandbox.allow=true"
        )
    isolation = find_isolation()
    if not (isolation.network_closed or config.allow_network):
        raise ConfigError(
            f"{what}: this system grants neither namespaces nor a system call filter, so that the network is open to "
            "programs that the model wrote; run elsewhere, or consent with evals.sandbox.allow_network=true"
        )
    if not (isolation.files_closed or config.allow_files):
        raise ConfigError(
            f"{what}: this system grants neither namespaces nor Landlock, so that programs that the model wrote can "
            "read what this user can read; run elsewhere, or consent with evals.sandbox.allow_files=true"
        )
    return isolation


def describe_sandbox() -> str:
    """How programs are confined here, and what is open to them, for the plan. Call after ``check_sandbox``."""
    isolation = find_isolation()
    open_to = {"the network": not isolation.network_closed, "the user's files": not isolation.files_closed}
    left = " and ".join(name for name, is_open in open_to.items() if is_open)
    return f"programs confined by {isolation}" + (f"; {left} OPEN to them, as the recipe allows" if left else "")


@lru_cache(maxsize=4)
def find_isolation(python: str = sys.executable) -> Isolation:
    """What the kernel grants, found out by running a small program under each means. Takes a second at most.

    Raises:
        ConfigError: Programs cannot be confined at all.
    """
    if sys.platform != "linux":
        raise ConfigError("evals.sandbox needs Linux: leave benchmarks out that run programs, or use a container")
    root = os.geteuid() == 0
    nothing = Isolation(False, False, False, False, python)
    with_user = replace(nothing, own_user=True)
    base = with_user if root else nothing
    found = replace(base, namespaces=True)
    if not (why := _refused(found)):
        return replace(found, seccomp=not _refused(replace(found, seccomp=True)))
    logger.debug("sandbox: no namespaces: %s", why)
    if why := _refused(base):
        raise ConfigError(
            f"evals.sandbox: programs cannot be confined here ({why}). As root they run under another user id, which "
            "must be able to read the Python installation; run as a plain user, or install Python outside root's home"
        )
    seccomp = not _refused(replace(base, seccomp=True))
    return replace(base, seccomp=seccomp, landlock=not _refused(replace(base, landlock=True)))


def _refused(isolation: Isolation) -> str:
    """Why a harmless program does not run under ``isolation``; empty if it does."""
    source = "import collections, hashlib, json, math, random, re, string, tempfile, typing\nopen('probe', 'w').close()"
    try:
        result = run_program(source, SandboxLimits(wall_seconds=60, cpu_seconds=30), isolation)
    except SandboxError as error:
        return str(error)
    return "" if result.passed else result.reason


def run_program(source: str, limits: SandboxLimits | None = None, isolation: Isolation | None = None) -> SandboxResult:
    """Run a Python program to its end.

    Only the standard library can be imported. The program is not ``__main__``.

    Args:
        source: Source text.
        limits: What it may use.
        isolation: How it is confined; what the kernel grants, by default.

    Raises:
        SandboxError: The sandbox itself failed; that is no verdict on the program.
        ConfigError: See ``find_isolation``.
    """
    limits = limits or SandboxLimits()
    isolation = isolation or find_isolation()
    place = tempfile.mkdtemp(prefix="nemo-mixsd-sandbox-")
    try:
        return _run(_job(source, limits, isolation, place), limits, isolation.python)
    except OSError as error:
        raise SandboxError(f"the sandbox could not start {isolation.python}: {error}") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _job(source: str, limits: SandboxLimits, isolation: Isolation, place: str) -> bytes:
    job: dict[str, Any] = {
        "source": source,
        "place": place,
        "readable": _readable(isolation.python),
        "namespaces": isolation.namespaces,
        "seccomp": isolation.seccomp,
        "landlock": isolation.landlock,
        "user": _user() if isolation.own_user else None,
        **asdict(limits),
    }
    data = json.dumps(job).encode("ascii")
    return struct.pack("!Q", len(data)) + data


@lru_cache(maxsize=1)
def _user_range() -> int:
    """How many user ids there are from ``FIRST_USER`` on; 0 in a container that maps fewer."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines():
            inside, _, count = map(int, line.split())
            if inside <= FIRST_USER < inside + count:
                return min(inside + count - FIRST_USER, 100_000_000)
    return 0


def _user() -> int:
    return FIRST_USER + secrets.randbelow(_user_range()) if _user_range() else NOBODY


@lru_cache(maxsize=4)
def _readable(python: str) -> list[str]:
    """What a program needs to read: the standard library of ``python`` and the system's shared libraries."""
    if python == sys.executable:
        paths = [sysconfig.get_path("stdlib"), f"{sys.base_exec_prefix}/{sys.platlibdir}/python"]
    else:
        command = [python, "-I", "-S", "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"]
        paths = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()]
    libraries = {os.path.dirname(os.path.realpath(path)) for path in paths}
    system = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store"]
    wanted = [*system, *sorted(libraries)]
    return [
        path
        for i, path in enumerate(wanted)
        if os.path.exists(path) and not any(path.startswith(f"{above}/") or path == above for above in wanted[:i])
    ]


def _run(job: bytes, limits: SandboxLimits, python: str) -> SandboxResult:
    verdict_in, verdict_out = os.pipe()
    # Of our own environment nothing is passed on; the fixed seed makes the order of sets the same in every run.
    command = [python, "-s", "-S", "-P", "-B", "-u", str(CHILD), str(verdict_out)]
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PYTHONHASHSEED": "0"},
            cwd="/",
            pass_fds=(verdict_out,),
            start_new_session=True,
        )
    except OSError:
        os.close(verdict_in)
        raise
    finally:
        os.close(verdict_out)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # it died; the missing verdict says so below
            child.stdin.write(job)
            child.stdin.flush()
        output, too_much, verdict = _listen(child, verdict_in, limits)
    finally:
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()  # tells the supervisor to end the program, if it still runs
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        child.stdout.close()
        os.close(verdict_in)
    return _result(verdict, output, too_much, limits)


def _listen(child: subprocess.Popen[bytes], verdict_in: int, limits: SandboxLimits) -> tuple[bytes, bool, bytes]:
    """Read output (its end is kept) and verdict until the verdict is there, the output too much, or time is over."""
    assert child.stdin is not None
    assert child.stdout is not None
    stdout = child.stdout.fileno()
    output, seen, verdict, too_much = b"", 0, b"", False
    deadline = time.monotonic() + limits.wall_seconds + GRACE
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        selector.register(verdict_in, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            ready = {key.fd for key, _ in selector.select(1.0)}
            if stdout in ready:
                data = os.read(stdout, 65536)
                seen += len(data)
                output = (output + data)[-TAIL:]
                if not data:
                    selector.unregister(stdout)
                elif seen > 1024 * limits.output_kb and not too_much:
                    too_much = True
                    child.stdin.close()
            elif verdict_in in ready:  # output first, so that none is left behind
                data = os.read(verdict_in, 65536)
                verdict += data
                if not data:
                    break
    return output, too_much, verdict


def _result(verdict: bytes, output: bytes, too_much: bool, limits: SandboxLimits) -> SandboxResult:
    tail = output.decode("utf-8", "replace")
    try:
        said = json.loads(verdict)
    except ValueError as error:
        raise SandboxError(f"the sandbox ended without a verdict; its last output: {tail[-300:]!r}") from error
    if "error" in said:
        raise SandboxError(f"the sandbox could not be set up: {said['error']}")
    passed = said["passed"] and not too_much
    return SandboxResult(passed, "passed" if passed else _reason(said, too_much, limits), tail, said["seconds"])


def _reason(said: dict[str, Any], too_much: bool, limits: SandboxLimits) -> str:
    if too_much:
        return f"more than {limits.output_kb} kB of output"
    if said["late"]:
        return f"not finished after {limits.wall_seconds:g} s"
    status = said["status"]
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return f"not finished after {limits.cpu_seconds} s of CPU time"
        return f"ended by {signal.Signals(number).name}" if number in set(signal.Signals) else f"ended by {number}"
    word = said["said"]  # the program may have written this itself
    return word if word and word != "passed" else f"left before its end (status {os.WEXITSTATUS(status)})"
