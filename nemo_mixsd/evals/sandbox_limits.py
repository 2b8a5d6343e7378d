"""The ``evals.sandbox`` section, and the records of the sandbox: limits, means of confinement, results."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from pydantic import Field

from nemo_mixsd.section import Section


class SandboxConfig(Section):
    """Whether and within which limits the code of a model is run."""

    allow: bool = False
    """Run programs that a model wrote, as scoring HumanEval needs. Nothing is run without this."""
    allow_network: bool = False
    """Run them even where the network cannot be closed to them."""
    allow_files: bool = False
    """Run them even where files that this user may read cannot be closed to them."""
    cpu_seconds: int = Field(5, ge=1)
    """CPU time of a process."""
    wall_seconds: float = Field(10.0, gt=0)
    """Time of a program from its start."""
    memory_mb: int = Field(512, ge=64)
    """Address space of a process."""
    file_mb: int = Field(16, ge=1)
    """Largest file that may be written."""
    disk_mb: int = Field(64, ge=1)
    """All files together; holds where the kernel grants namespaces."""
    processes: int = Field(8, ge=1)
    """Processes and threads of a program."""
    output_kb: int = Field(256, ge=1)
    """Output after which a program is ended."""
    workers: int | None = Field(None, ge=1)
    """Programs run at the same time; null is one a CPU core."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What a program may use; the fields are those of ``SandboxConfig``."""

    cpu_seconds: int = 5
    wall_seconds: float = 10.0
    memory_mb: int = 512
    file_mb: int = 16
    disk_mb: int = 64
    processes: int = 8
    output_kb: int = 256

    @classmethod
    def from_config(cls, config: SandboxConfig) -> SandboxLimits:
        """The limits of a recipe."""
        return cls(**{name: getattr(config, name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """What became of a program.

    Attributes:
        passed: The source ran to its end without an exception, within the limits.
        reason: ``passed``, or why not: the exception, the signal, or the limit.
        stdout_tail: The end of its output and errors.
        seconds: How long it ran, starting the interpreter not counted.
    """

    passed: bool
    reason: str
    stdout_tail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Isolation:
    """How programs are confined here.

    Attributes:
        namespaces: A network, process table and file system of their own.
        seccomp: A filter of system calls: no sockets, no access to other processes.
        landlock: Only their own directory and the standard library can be read; used where there are no namespaces.
        own_user: Run as root: each program under a user id that nobody else has.
        python: The interpreter that runs them.
    """

    namespaces: bool = True
    seccomp: bool = True
    landlock: bool = False
    own_user: bool = False
    python: str = sys.executable

    @property
    def network_closed(self) -> bool:
        """Whether no socket can be opened to anywhere."""
        return self.namespaces or self.seccomp

    @property
    def files_closed(self) -> bool:
        """Whether the user's files cannot be read."""
        return self.namespaces or self.landlock

    def __str__(self) -> str:
        used = {
            "namespaces": self.namespaces,
            "a system call filter": self.seccomp,
            "Landlock": self.landlock,
            "a user id each": self.own_user,
        }
        return ", ".join(name for name, on in used.items() if on) or "resource limits only"
