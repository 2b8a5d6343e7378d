"""Hostile programs: each contained, the verdict is "failed", and nothing of them is left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from nemo_mixsd.errors import ConfigError, SandboxError
from nemo_mixsd.evals import sandbox
from nemo_mixsd.evals.sandbox import (
    Isolation,
    SandboxConfig,
    SandboxLimits,
    check_sandbox,
    find_isolation,
    run_program,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is for Linux")
LIMITS = SandboxLimits(
    cpu_seconds=2, wall_seconds=3, memory_mb=256, file_mb=4, disk_mb=16, processes=4, output_kb=64
)  # fmt: skip
SECRET = "tangerine-7719"


def public_python():
    """An interpreter that any user may execute, for what runs under another user id."""
    for python in (Path(sys.executable).resolve(), Path("/usr/bin/python3").resolve()):
        if python.exists() and all(p.stat().st_mode & 0o005 == 0o005 for p in (python, *python.parents)):
            command = [python, "-c", "import sys; print(sys.version_info >= (3, 11))"]
            if subprocess.run(command, capture_output=True, check=True).stdout.strip() == b"True":
                return str(python)
    return pytest.skip("no Python here that every user can execute")


def best():
    return find_isolation()


def without_namespaces():
    root = os.geteuid() == 0
    python = public_python() if root else sys.executable
    isolation = Isolation(namespaces=False, seccomp=True, landlock=True, own_user=root, python=python)
    if why := sandbox._refused(isolation):
        pytest.skip(f"not granted here: {why}")
    return isolation


@pytest.fixture(params=[best, without_namespaces])
def isolation(request, tmp_path):
    """An isolation whose processes are known by the name of their interpreter; none may be left after the test."""
    chosen = request.param()
    link = tmp_path / "python-of-this-test"
    link.symlink_to(Path(chosen.python).resolve())
    yield replace(chosen, python=str(link))
    deadline = time.monotonic() + 5
    while (left := processes(link)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == []


def processes(link):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(link).encode() in (entry / "cmdline").read_bytes():
                    found.append(entry.name)
            except OSError:
                continue
    return found


def run(source, isolation, **changes):
    start = time.monotonic()
    result = run_program(source, replace(LIMITS, **changes), isolation)
    assert result.seconds <= time.monotonic() - start
    return result


def failed(source, isolation, **changes):
    result = run(source, isolation, **changes)
    assert not result.passed, result
    assert result.reason not in ("", "passed")
    return result


@pytest.mark.parametrize(
    "source",
    [
        "",
        "import math\nassert math.gcd(4, 6) == 2",
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: 'int' = 1\nassert A().x == 1",
        "import hashlib, random, re, json, heapq, itertools, collections, decimal, statistics, datetime",
        "open('mine', 'w').write('x')\nassert open('mine').read() == 'x'",
        "print('é' * 100)\nimport sys\nsys.stdout = None",
        "import os\nos.write = os.read = os._exit = None",
        "import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()",
        "import asyncio\nasync def f():\n    return 1\nassert asyncio.run(f()) == 1",
        "if __name__ == '__main__':\n    raise ValueError",
        "import sys\nsys.setrecursionlimit(5000)\ndef f(n):\n    return n and f(n - 1)\nf(3000)",
    ],
)
def test_a_decent_program_passes(isolation, source):
    result = run(source, isolation)
    assert result == replace(result, passed=True, reason="passed"), result


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("assert 1 == 2", "AssertionError: "),
        ("def f(:", "SyntaxError: invalid syntax (program.py, line 1)"),
        ("x = '\0'", "SyntaxError: source code string cannot contain null bytes|ValueError: source code string"),
        ("'\ud800'", "UnicodeEncodeError"),
        ("import numpy", "ModuleNotFoundError: No module named 'numpy'"),
        ("input()", "EOFError"),
        ("def f(): f()\nf()", "RecursionError"),
        ("import ctypes\nctypes.string_at(0)", "ended by SIGSEGV"),
        ("import nemo_mixsd", "ModuleNotFoundError"),
    ],
)
def test_a_wrong_program_fails_and_says_why(isolation, source, reason):
    found = failed(source, isolation).reason
    assert any(found.startswith(r) for r in reason.split("|")), found


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos._exit(0)",
        "raise SystemExit(0)",
        "import sys\nsys.exit()",
        "print('passed')\nraise SystemExit",
        "import os, threading\nthreading.Timer(0.01, os._exit, [0]).start()\nimport time\ntime.sleep(5)",
        "import atexit, os\natexit.register(os._exit, 0)\nraise KeyboardInterrupt",
        "import os\nos.execv('/bin/true', ['true'])",
        "import sys\nsys.excepthook = lambda *a: None\n1 / 0",
        "import os\nfor fd in range(3, 64):\n    try:\n        os.write(fd, b'passed')\n    except OSError:\n"
        "        pass\nos._exit(0)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\nwhile True:\n    pass",
    ],
)
def test_leaving_early_or_saying_so_is_no_pass(isolation, source):
    failed(source, isolation)


def test_catching_every_exception_ends_at_the_time_limit(isolation):
    source = "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except BaseException:\n        pass"
    result = failed(source, isolation, wall_seconds=1)
    assert result.reason == "not finished after 1 s"
    assert 1 <= result.seconds < 10


def test_an_endless_loop_ends_at_the_cpu_limit(isolation):
    result = failed("while True: pass", isolation, cpu_seconds=1, wall_seconds=60)
    assert result.reason == "not finished after 1 s of CPU time"


def test_a_loop_that_ignores_the_signal_ends_too(isolation):
    ignoring = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    assert failed(ignoring, isolation, cpu_seconds=1, wall_seconds=60).reason == "ended by SIGKILL"


def test_processes_are_counted(isolation):
    """Before the bomb: how many children does a program get, of the twenty that it wants?"""
    source = """
import os, time
made = 0
for _ in range(20):
    try:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        made += 1
    except OSError:
        pass
print('made', made)
raise ValueError
"""
    result = failed(source, isolation)
    made = int(result.stdout_tail.split("made ")[1].split()[0])
    assert made <= LIMITS.processes - 1
    assert failed(source, isolation, processes=1).stdout_tail.startswith("made 0")


def test_a_fork_bomb(isolation):
    bomb = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    failed(bomb, isolation, cpu_seconds=1, wall_seconds=1)


def test_daemons_do_not_outlive_their_program(isolation):
    source = (
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(600)\n"
        "    os._exit(0)\nos.wait()"
    )
    assert run(source, isolation).passed  # the fixture looks for what is left


@pytest.mark.parametrize(
    "source",
    [
        "x = bytearray(10**10)",
        "x = []\nwhile True:\n    x.append(bytearray(10**7))",
        "x = []\nwhile True:\n    try:\n        x.append(bytearray(10**7))\n    except MemoryError:\n        x.pop()",
        "import mmap\nx = mmap.mmap(-1, 10**9)",
        "import os\nos.memfd_create('hog')",
    ],
)
def test_a_memory_hog(isolation, source):
    failed(source, isolation, wall_seconds=1)


def test_endless_output(isolation):
    result = failed("while True: print('spam' * 100)", isolation, wall_seconds=60, cpu_seconds=30)
    assert result.reason == "more than 64 kB of output"
    assert len(result.stdout_tail) <= sandbox.TAIL
    assert result.stdout_tail.rstrip().endswith("spam")
    silent = "import os\nwhile True:\n    try:\n        os.write(2, b'x' * 1000)\n    except OSError:\n        pass"
    assert "output" in failed(silent, isolation, wall_seconds=60, cpu_seconds=30).reason


@pytest.mark.parametrize(
    "source",
    [
        "f = open('big', 'wb')\nf.truncate(2 << 30)",
        "f = open('big', 'wb')\nf.seek(2 << 30)\nf.write(b'x')\nf.close()",
        "f = open('big', 'wb')\nfor _ in range(2048): f.write(bytes(1 << 20))\nf.close()",
    ],
)
def test_a_two_gigabyte_file(isolation, source):
    assert failed(source, isolation).reason.startswith("OSError: ")


def test_many_files(isolation):
    source = "for i in range(100):\n    open(f'f{i}', 'wb').write(bytes(1 << 20))"
    if isolation.namespaces:
        assert "No space left" in failed(source, isolation).reason
    else:
        pytest.skip("the sum of all files is bounded by namespaces only")


def test_writing_outside(isolation, tmp_path):
    place = tmp_path / "open to all"
    place.mkdir()
    for path in (tmp_path, place):
        path.chmod(0o777)
    failed(f"open({str(place / 'x')!r}, 'w').write('x')", isolation)
    failed(f"import os\nos.mkdir({str(place / 'y')!r})", isolation)
    kept = place / "kept"
    kept.write_text("as it was")
    kept.chmod(0o666)
    failed(f"import os\nos.unlink({str(kept)!r})", isolation)
    failed(f"open({str(kept)!r}, 'w')", isolation)
    failed("import sys, os\nopen(os.path.dirname(os.__file__) + '/x.py', 'w')", isolation)
    assert kept.read_text() == "as it was"
    assert [p.name for p in place.iterdir()] == ["kept"]


def test_reading_the_users_files_and_environment(isolation, tmp_path, monkeypatch):
    monkeypatch.setenv("NEMO_MIXSD_TEST_SECRET", SECRET)
    file = tmp_path / "secret.txt"
    file.write_text(SECRET)
    file.chmod(0o644)
    look = f"""
import glob, os
found = dict(os.environ)
for path in [{str(file)!r}, '/etc/passwd', *glob.glob('/proc/*/environ'), *glob.glob('/proc/*/cmdline')]:
    try:
        found[path] = open(path, 'rb').read()
    except OSError:
        pass
if found:
    print(found)
raise ValueError(str(found))
"""
    result = failed(look, isolation)
    assert result.reason == "ValueError: {}"
    assert SECRET not in result.stdout_tail
    failed(f"open({str(file)!r})", isolation)
    failed("import os\nos.listdir('/proc/self/fd')", isolation)


def test_opening_a_socket(isolation, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "s"))
        local.listen()
        server.settimeout(0.2)
        local.settimeout(0.2)
        port = server.getsockname()[1]
        failed(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)", isolation)
        failed(f"import socket\nsocket.socket(socket.AF_UNIX).connect({str(tmp_path / 's')!r})", isolation)
        failed(
            "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('8.8.8.8', 53))", isolation
        )
        for listener in (server, local):
            with pytest.raises(TimeoutError):
                listener.accept()


def test_namespaces_alone_have_no_network(isolation):
    if not isolation.namespaces:
        pytest.skip("for namespaces")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        source = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)"
        assert "OSError" in failed(source, replace(isolation, seccomp=False)).reason


def test_killing_the_parent(isolation):
    if isolation.seccomp:  # nobody is killed before this is known to be refused
        assert "PermissionError" in failed("import os\nos.kill(os.getpid(), 0)", isolation).reason
    source = f"""
import os, signal
for pid in (os.getppid(), {os.getpid()}, {os.getppid()}, 1, -1):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass
raise ValueError('still here')
"""
    assert failed(source, isolation).reason == "ValueError: still here"


def test_no_way_back_to_rights(isolation):
    head = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\ndef must(r):\n    assert r >= 0, r\n"
    for call in (
        "libc.unshare(0x10000000)", "libc.unshare(0x20000)", "libc.ptrace(16, 1, 0, 0)", "libc.setuid(0)",
        "libc.chroot(b'/')", "libc.mount(b'none', b'/', None, 0, None)", "libc.shmget(0, 4096, 0o1600)",
    ):  # fmt: skip
        assert failed(f"{head}must({call})", isolation).reason == "AssertionError: -1", call


def test_many_at_once_in_order(isolation):
    sources = [f"import time\ntime.sleep({0.2 * (i % 2 == 0)})\nassert {i} != 3" for i in range(6)]
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda s: run_program(s, replace(LIMITS, wall_seconds=30), isolation), sources))
    assert [r.passed for r in results] == [True, True, True, False, True, True]


@pytest.mark.skipif(os.geteuid() != 0, reason="run as a plain user, the other tests show this")
@pytest.mark.slow
def test_a_plain_user_is_as_safe(tmp_path):
    """The rights of root are not what makes it work."""
    python = public_python()
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o755)
    mine = tmp_path / "mine"
    driver = f"""
import json, os, sys
from dataclasses import replace
from pathlib import Path
from nemo_mixsd.evals.sandbox import *
Path({str(mine)!r}).write_text({SECRET!r})
limits = SandboxLimits(cpu_seconds=2, wall_seconds=3, processes=4)
best = find_isolation()
fallback = Isolation(namespaces=False, seccomp=True, landlock=True)
programs = ["import math", "open({str(mine)!r})", "import socket\\nsocket.socket()",
    "import os\\nos.kill(os.getppid(), 9)", "import os, time\\nfor _ in range(9): os.fork() or time.sleep(1)",
    "import os\\nos.listdir({str(tmp_path)!r})", "import os\\nopen('/proc/' + str(os.getppid()) + '/environ')"]
print(json.dumps([str(best)] + [[run_program(p, limits, i).passed for p in programs] for i in (best, fallback)]))
"""
    path = os.pathsep.join([str(Path(sandbox.__file__).parents[2]), sysconfig.get_path("purelib")])
    done = subprocess.run(
        [python, "-c", driver], user=54321, group=54321, extra_groups=[], env={"PYTHONPATH": path},
        capture_output=True, text=True, cwd="/", check=False,
    )  # fmt: skip
    if "pydantic" in done.stderr or "version" in done.stderr:
        pytest.skip(f"{python} cannot import this package's dependencies")
    isolation, *verdicts = json.loads(done.stdout or done.stderr)
    assert "user id" not in isolation
    assert verdicts == [[True] + [False] * 6] * 2


@pytest.mark.slow
def test_a_killed_run_leaves_no_program(tmp_path):
    link = tmp_path / "python-of-this-test"
    link.symlink_to(Path(sys.executable).resolve())
    source = f"""
from dataclasses import replace
from nemo_mixsd.evals.sandbox import *
run_program("while True: pass", SandboxLimits(60, 60), replace(find_isolation(), python={str(link)!r}))
"""
    run = subprocess.Popen([sys.executable, "-c", source])
    deadline = time.monotonic() + 60
    while len(processes(link)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(link)
    run.send_signal(signal.SIGKILL)
    run.wait()
    deadline = time.monotonic() + 10
    while processes(link) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(link) == []


@pytest.mark.parametrize("python", ["/nowhere/python", "/bin/true"])
def test_a_sandbox_that_fails_is_no_verdict(python):
    isolation = Isolation(False, False, False, False, python)
    sandbox._readable.cache_clear()
    with pytest.raises((SandboxError, subprocess.CalledProcessError)):
        run_program("x = 1", LIMITS, isolation)


def test_what_cannot_be_set_up_is_an_error_not_a_failed_program():
    isolation = best()
    job = sandbox._job("x = 1", LIMITS, isolation, "/nowhere")
    with pytest.raises(SandboxError, match=r"could not be set up.*nowhere"):
        sandbox._run(job, LIMITS, isolation.python)


def test_consents(monkeypatch):
    with pytest.raises(ConfigError, match=r"evals\.sandbox\.allow=true"):
        check_sandbox(SandboxConfig())
    for isolation, key, consents in (
        (Isolation(False, False, True), "allow_network", {}),
        (Isolation(False, True, False), "allow_files", {}),
        (Isolation(False, False, False), "allow_files", {"allow_network": True}),
    ):
        monkeypatch.setattr(sandbox, "find_isolation", lambda found=isolation: found)
        with pytest.raises(ConfigError, match=rf"evals\.sandbox\.{key}=true"):
            check_sandbox(SandboxConfig(allow=True, **consents))
        assert check_sandbox(SandboxConfig(allow=True, **{**consents, key: True})) == isolation
    monkeypatch.setattr(sandbox, "find_isolation", Isolation)
    assert check_sandbox(SandboxConfig(allow=True)) == Isolation()


def test_limits_are_the_recipes():
    assert SandboxLimits.from_config(SandboxConfig(cpu_seconds=9)) == SandboxLimits(cpu_seconds=9)


def test_without_namespaces_the_next_best_is_taken(monkeypatch):
    refused = {"namespaces": "EPERM"}

    def answer(isolation):
        return next((why for means, why in refused.items() if getattr(isolation, means)), "")

    monkeypatch.setattr(sandbox, "_refused", answer)
    find_isolation.cache_clear()
    try:
        root = os.geteuid() == 0
        found = find_isolation("p1")
        assert found == Isolation(False, True, True, root, "p1")
        assert (found.network_closed, found.files_closed) == (True, True)
        refused["seccomp"] = refused["landlock"] = "EPERM"
        assert not find_isolation("p2").network_closed
        refused["python"] = "cannot be read"
        with pytest.raises(ConfigError, match="cannot be read"):
            find_isolation("p3")
    finally:
        find_isolation.cache_clear()
