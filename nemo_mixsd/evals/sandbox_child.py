"""What runs a program in the sandbox: a fresh interpreter, started by ``sandbox.run_program``, in three processes.

The launcher reads the job and enters the namespaces. The supervisor (process 1 of the new namespace; the launcher
itself where there is none) forks the program, waits for it, and tells the verdict. The program gives up all rights and
runs the source. Standard library only: this file is executed by name, without site-packages.

The program is believed to have run to its end if it hands back a number that waits in a pipe and that nothing reads
before the last line of the source is done. So exit status, output and exceptions decide nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import resource
import select
import signal
import struct
import sys
import time
import types
from pathlib import Path
from typing import Any

POLL = 0.005
"""Seconds between two looks at the program."""

_spec = importlib.util.spec_from_file_location("sandbox_kernel", Path(__file__).with_name("sandbox_kernel.py"))
assert _spec is not None
assert _spec.loader is not None
kernel: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(kernel)


def main() -> None:
    """Read a job from stdin, run it, write the verdict to the descriptor named by the first argument.

    Stdin stays open: its end tells the supervisor that nobody waits any more.
    """
    verdict = int(sys.argv[1])
    job = _read_job()
    null = os.open("/dev/null", os.O_RDONLY)
    try:
        _isolate(job, verdict, null)
    except OSError as error:
        _tell(verdict, {"error": str(error)})


def _read_job() -> dict[str, Any]:
    def exactly(count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = os.read(0, count - len(data))
            if not part:
                os._exit(1)
            data += part
        return data

    (length,) = struct.unpack("!Q", exactly(8))
    job: dict[str, Any] = json.loads(exactly(length))
    return job


def _tell(verdict: int, message: dict[str, Any]) -> None:
    os.write(verdict, json.dumps(message).encode("ascii"))


def _isolate(job: dict[str, Any], verdict: int, null: int) -> None:
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")  # if memory runs out all the same, this goes first
    if not job["namespaces"]:
        kernel.hide_memory()
        kernel.adopt_orphans()
        if job["user"] is not None:
            os.chown(job["place"], job["user"], job["user"])
        _tell(verdict, _supervise(job, job["place"], verdict, null))
        return
    kernel.enter_namespaces()
    child = os.fork()
    if child:
        os.close(verdict)
        os.waitpid(child, 0)
        os._exit(0)
    try:
        kernel.die_with_parent()
        kernel.enter_root(job["place"], job["readable"], job["disk_mb"])
        if job["user"] is not None:
            os.chown(kernel.WORK, job["user"], job["user"])
        _tell(verdict, _supervise(job, kernel.WORK, verdict, null))
    except OSError as error:
        _tell(verdict, {"error": str(error)})
    finally:
        os._exit(0)  # the first process of a namespace takes all others with it


def _supervise(job: dict[str, Any], work: str, verdict: int, null: int) -> dict[str, Any]:
    """Fork the program, wait for its end or the time limit, and say what became of it."""
    setup_in, setup_out = os.pipe()
    number_in, number_out = os.pipe()
    done_in, done_out = os.pipe()
    program = os.fork()
    if not program:
        try:
            for fd in (verdict, setup_in, number_out, done_in):
                os.close(fd)
            os.dup2(null, 0)
            os.close(null)
            try:
                _confine(job, work)
            except (OSError, ValueError) as error:
                os.write(setup_out, str(error).encode()[:500])
                os._exit(1)
            os.close(setup_out)
            _run(job["source"], number_in, done_out)
        finally:
            os._exit(70)
    for fd in (setup_out, done_out):  # the other pipe stays whole if the program has ended already
        os.close(fd)
    failure = os.read(setup_in, 500)  # ends when the program starts: it cannot say this itself
    if failure:
        os.waitpid(program, 0)
        return {"error": failure.decode(errors="replace")}
    number = os.urandom(16).hex().encode()
    os.write(number_out, number)
    start = time.monotonic()
    status, late = _wait(program, start + job["wall_seconds"])
    seconds = time.monotonic() - start
    os.set_blocking(done_in, False)
    try:
        said = os.read(done_in, 1000)
    except BlockingIOError:
        said = b""
    if not job["namespaces"]:
        _sweep(program, job["user"])
    return {
        "passed": said == number and status == 0 and not late,
        "status": status,
        "late": late,
        "said": said.decode(errors="replace") if said != number else "",
        "seconds": seconds,
    }


def _wait(program: int, deadline: float) -> tuple[int, bool]:
    """The wait status of the program, and whether it was ended here: too late, or nobody waits any more."""
    watch = select.poll()
    watch.register(0, select.POLLIN | select.POLLHUP)
    while True:
        pid, status = os.waitpid(program, os.WNOHANG)
        if pid:
            return status, False
        if time.monotonic() > deadline or watch.poll(1000 * POLL):
            os.kill(program, signal.SIGKILL)
            return os.waitpid(program, 0)[1], True


def _confine(job: dict[str, Any], work: str) -> None:
    """Everything that the program may not do. The order matters: each step needs what later ones take away."""
    os.setsid()
    os.chdir(work)
    mb = 1 << 20
    limits = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_CPU: (job["cpu_seconds"], job["cpu_seconds"] + 1),
        resource.RLIMIT_AS: (job["memory_mb"] * mb,) * 2,
        resource.RLIMIT_FSIZE: (job["file_mb"] * mb,) * 2,
        resource.RLIMIT_NOFILE: (64, 64),
        resource.RLIMIT_NPROC: (job["processes"],) * 2,
        resource.RLIMIT_MEMLOCK: (0, 0),
    }
    for what, values in limits.items():
        hard = resource.getrlimit(what)[1]
        bound = max(values) if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(what, (min(values[0], bound), min(values[1], bound)))
    user = job["user"]
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    kernel.die_with_parent()
    kernel.give_up_rights()
    if job["landlock"]:
        kernel.landlock([path for path in job["readable"] if os.path.isdir(path)], work)
    if job["seccomp"]:
        kernel.seccomp()


def _run(source: str, number_in: int, done_out: int) -> None:
    """Run the program; hand the number back if it ends, else say how it ended. Does not return."""
    read, write, leave = os.read, os.write, os._exit
    os.environ.clear()
    sys.argv[:] = ["program.py"]
    module = types.ModuleType("program")  # no "__main__": a block under that guard is not part of the answer
    sys.modules["program"] = module
    try:
        exec(compile(source, "program.py", "exec"), module.__dict__)
    except BaseException as error:
        with contextlib.suppress(BaseException):
            write(done_out, f"{type(error).__name__}: {error}"[:200].encode())
        leave(1)
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
    write(done_out, read(number_in, 64))
    leave(0)


def _sweep(program: int, user: int | None) -> None:
    """End what the program has left behind, where no namespace does it: its group, its user, adopted orphans."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program, signal.SIGKILL)
    if user is not None:
        helper = os.fork()
        if not helper:
            try:
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
                os.kill(-1, signal.SIGKILL)  # all of this user, which has no other processes
            finally:
                os._exit(0)
    own = Path(f"/proc/self/task/{os.getpid()}/children")
    for _ in range(200):
        with contextlib.suppress(OSError):
            for pid in own.read_text(encoding="ascii").split():
                os.kill(int(pid), signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(POLL)


if __name__ == "__main__":
    main()
