"""The system calls of the sandbox: namespaces, a root file system of its own, Landlock, seccomp.

Standard library only, and nothing of this package: it is loaded by its file name in an interpreter without
site-packages (``sandbox_child``), never imported by the package. Every function raises ``OSError`` with what failed.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

_libc = ctypes.CDLL(None, use_errno=True)

NAMESPACES = 0x00020000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000
"""Mount, process, network, IPC and host name."""
USER_NAMESPACE = 0x10000000
WORK = "/sandbox"
"""The program's directory in a root file system of its own."""

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND, _MS_MOVE = 1, 2, 4, 32, 4096, 8192
_MS_REC, _MS_PRIVATE = 16384, 1 << 18
_MNT_DETACH = 2
_KEPT_FLAGS = {2: 2, 4: 4, 8: 8, 1024: 1024, 2048: 2048, 4096: 1 << 21}
"""Flags of ``statvfs`` that a remount in a user namespace must repeat, as mount flags."""

_SHARED = {
    "io_uring_setup": 425, "pidfd_send_signal": 424, "open_tree": 428, "move_mount": 429, "fsopen": 430,
    "fsmount": 432, "clone3": 435, "pidfd_getfd": 438, "mount_setattr": 442, "landlock_create_ruleset": 444,
    "landlock_add_rule": 445, "landlock_restrict_self": 446, "memfd_secret": 447,
}  # fmt: skip
_NUMBERS: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (0xC000003E, {
        "socket": 41, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "unshare": 272, "setns": 308,
        "mount": 165, "umount2": 166, "pivot_root": 155, "keyctl": 250, "add_key": 248, "request_key": 249,
        "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "memfd_create": 319, "shmget": 29, "semget": 64,
        "msgget": 68, "mq_open": 240, "kill": 62, "tkill": 200, "tgkill": 234, "rt_sigqueueinfo": 129,
        "rt_tgsigqueueinfo": 297, "clone": 56, "capset": 126,
    }),
    "aarch64": (0xC00000B7, {
        "socket": 198, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "unshare": 97, "setns": 268,
        "mount": 40, "umount2": 39, "pivot_root": 41, "keyctl": 219, "add_key": 217, "request_key": 218,
        "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "memfd_create": 279, "shmget": 194, "semget": 190,
        "msgget": 186, "mq_open": 180, "kill": 129, "tkill": 130, "tgkill": 131, "rt_sigqueueinfo": 138,
        "rt_tgsigqueueinfo": 240, "clone": 220, "capset": 91,
    }),
}  # fmt: skip
_DENIED = (
    "socket", "ptrace", "process_vm_readv", "process_vm_writev", "unshare", "setns", "mount", "umount2", "pivot_root",
    "keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd", "memfd_create", "memfd_secret",
    "shmget", "semget", "msgget", "mq_open", "io_uring_setup", "pidfd_send_signal", "pidfd_getfd", "open_tree",
    "move_mount", "fsopen", "fsmount", "mount_setattr", "kill", "tkill", "tgkill", "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
)  # fmt: skip
"""Network, signals, other processes' memory, new namespaces and mounts, memory that no resource limit counts."""


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _number(name: str) -> int:
    machine = os.uname().machine
    if machine not in _NUMBERS:
        raise OSError(f"{name}: system calls of {machine} are not known here")
    return {**_SHARED, **_NUMBERS[machine][1]}[name]


def _call(name: str, *arguments: object) -> int:
    return _check(_libc.syscall(_number(name), *arguments), name)


def prctl(option: int, value: int) -> None:
    """``prctl(2)`` with one argument."""
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def die_with_parent() -> None:
    """SIGKILL for this process when its parent dies."""
    prctl(1, 9)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies (PR_SET_CHILD_SUBREAPER)."""
    prctl(36, 1)


def hide_memory() -> None:
    """No other process of this user may look into this one (PR_SET_DUMPABLE 0)."""
    prctl(4, 0)


def enter_namespaces() -> None:
    """New namespaces for this process and, for processes, its children; as a plain user within a user namespace."""
    uid, gid = os.geteuid(), os.getegid()
    own = USER_NAMESPACE if uid else 0
    _check(_libc.unshare(NAMESPACES | own), "unshare")
    if own:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [value.encode() if value is not None else None for value in (source, target, kind)]
    options = data.encode() if data is not None else None
    _check(_libc.mount(*encoded, ctypes.c_ulong(flags), options), f"mount {target}")


def enter_root(place: str, readable: Sequence[str], size_mb: int) -> None:
    """Make ``place`` the root directory: memory of at most ``size_mb``, with ``readable`` as it is outside, read only.

    Nothing else of the file system can be reached afterwards. There is no ``/proc``. ``/dev`` has ``null`` and
    ``urandom``. The directory ``WORK`` is for the program.
    """
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", place, "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={size_mb}m,mode=0755,nr_inodes=10000")
    for path in readable:
        target = place + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if os.path.islink(path):
            os.symlink(os.readlink(path), target)
        elif not os.path.exists(target):
            os.mkdir(target)
            _mount(path, target, None, _MS_BIND | _MS_REC)
            flags = os.statvfs(target).f_flag
            kept = sum(mount for seen, mount in _KEPT_FLAGS.items() if flags & seen)
            _mount(None, target, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV | kept)
    os.mkdir(place + "/dev")
    for device in ("/dev/null", "/dev/urandom"):
        os.close(os.open(place + device, os.O_CREAT | os.O_WRONLY))
        _mount(device, place + device, None, _MS_BIND)
    os.makedirs(place + WORK, exist_ok=True)
    os.chdir(place)
    try:
        _call("pivot_root", b".", b".")
        _check(_libc.umount2(b".", _MNT_DETACH), "umount2")
    except OSError:  # the old root cannot be pivoted where it is an initial RAM disk
        _mount(place, "/", None, _MS_MOVE)
        os.chroot(".")
    os.chdir("/")


def give_up_rights() -> None:
    """No capabilities now, none to be gained by executing a file."""
    prctl(38, 1)  # PR_SET_NO_NEW_PRIVS
    header = struct.pack("Ii", 0x20080522, 0)
    _call("capset", header, bytes(24))


def landlock(readable: Sequence[str], writable: str) -> None:
    """Let this process read below ``readable`` and work below ``writable`` only, whatever its user may do."""
    version = _call("landlock_create_ruleset", None, ctypes.c_size_t(0), 1)
    rights = (1 << (13 + (version >= 2) + (version >= 3) + (version >= 5))) - 1
    attributes = struct.pack("QQQ", rights, 3, 3)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _call("landlock_create_ruleset", attributes, ctypes.c_size_t(len(attributes)), 0)
    read = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, read a directory
    for path, allowed in [*((p, read) for p in readable), (writable, rights), ("/dev/null", 1 << 1 | 1 << 2)]:
        fd = os.open(path, getattr(os, "O_PATH", 0o10000000) | os.O_CLOEXEC)
        _call("landlock_add_rule", ruleset, 1, struct.pack("=Qi", allowed, fd), 0)
        os.close(fd)
    _call("landlock_restrict_self", ruleset, 0)
    os.close(ruleset)


def seccomp() -> None:
    """Refuse the system calls of ``_DENIED`` from here on.

    Call last: it cannot be undone, and it needs ``give_up_rights`` before.
    """
    machine = os.uname().machine
    _number("socket")
    architecture = _NUMBERS[machine][0]
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    kill, allow, denied, unknown = 0x80000000, 0x7FFF0000, 0x00050000 | 13, 0x00050000 | 38
    code = [(load, 0, 0, 4), (equal, 1, 0, architecture), (give, 0, 0, kill), (load, 0, 0, 0)]
    code += [(at_least, 0, 1, 0x40000000), (give, 0, 0, unknown)]  # the x32 numbers
    for name in _DENIED:
        code += [(equal, 0, 1, _number(name)), (give, 0, 0, denied)]
    code += [(equal, 0, 1, _number("clone3")), (give, 0, 0, unknown)]  # the C library then calls clone
    code += [(equal, 0, 3, _number("clone")), (load, 0, 0, 16), (any_bit, 0, 1, USER_NAMESPACE), (give, 0, 0, denied)]
    code += [(give, 0, 0, allow)]
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in code))
    program = struct.pack("HP", len(code), ctypes.addressof(instructions))
    _check(_libc.prctl(22, ctypes.c_ulong(2), program, 0, 0), "seccomp")
