"""A Fisher in shards: the sums of several processes made into one, and the processes of this machine's GPUs.

Ray is not needed: a shard is one command (``nemo-mixsd analyze fisher --shard i/n``) that any launcher can start.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nemo_mixsd.analysis.fisher import FisherInfo, FisherSettings, check_same, fisher_key, read_info, shard_path
from nemo_mixsd.analysis.nll import Scored
from nemo_mixsd.analysis.tensorfile import TensorFiles, write_tensors
from nemo_mixsd.errors import AnalysisError
from nemo_mixsd.io import write_jsonl

logger = logging.getLogger(__name__)


def merge_fisher(parts: Sequence[Path], path: Path) -> FisherInfo:
    """Add the sums of all shards, divide by N, write the Fisher; streams, one parameter at a time.

    Raises:
        AnalysisError: A shard is missing, unfinished, given twice or of another computation; or ``path`` exists.
    """
    if path.exists():
        raise AnalysisError(f"{path} exists already; it is left as it is: give another path, or delete it")
    infos = [read_info(part) for part in parts]
    if not infos:
        raise AnalysisError("no shards to merge; name the files")
    first = infos[0]
    for part, info in zip(parts, infos, strict=True):
        if info.kind != "sums" or info.done != info.samples:
            raise AnalysisError(f"{part} is no finished shard: {info.kind} of {info.done} of {info.samples} samples")
        if (info.key, info.shards) != (first.key, first.shards):
            raise AnalysisError(f"{part} belongs to another computation than {parts[0]}; merge shards of one only")
    found = sorted(info.shard for info in infos)
    if found != list(range(first.shards)):
        raise AnalysisError(
            f"shards {', '.join(map(str, found))} of {first.shards} were given; each is needed exactly once"
        )
    count = sum(info.done for info in infos)
    files = [TensorFiles.of_file(part) for part in parts]
    try:
        whole = FisherInfo(
            "mean",
            first.model,
            first.key,
            count,
            count,
            sum(i.tokens for i in infos),
            sum(i.log_likelihood for i in infos),
        )

        def read(name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.floating]]:
            total = files[0].whole(name).double()
            for file in files[1:]:
                total += file.whole(name)
            return (total / count).numpy()  # type: ignore[no-any-return]

        float64 = files[0].whole(next(iter(files[0].shapes))).dtype.itemsize == 8
        write_tensors(path, files[0].shapes, "F64" if float64 else "F32", read, whole.metadata())
    finally:
        for file in files:
            file.close()
    return whole


def compute_in_processes(
    model_path: str,
    precision: str,
    samples: Sequence[Scored],
    path: Path,
    settings: FisherSettings,
    devices: Sequence[str],
    model_name: str | None = None,
) -> FisherInfo:
    """Compute one shard a device, each in a process of its own that loads the model, and merge.

    Args:
        model_path: Directory or hub id.
        precision: Of the weights.
        samples: All samples.
        path: The Fisher.
        settings: Of each process; the shard is set here.
        devices: ``cuda:0``, ``cuda:1``, ...; ``cpu`` may be named several times.
        model_name: What the file says the model is; ``model_path`` by default.

    Raises:
        AnalysisError: A process failed; the others' shards are kept, and the same call goes on from them.
    """
    count = len(devices)
    name = model_name or model_path
    if path.exists():
        return check_same(read_info(path), fisher_key(name, precision, samples), path)
    listing = path.with_name(f".{path.name}.samples.jsonl")
    write_jsonl(listing, samples)
    environment = dict(os.environ)
    if all(device == "cpu" for device in devices):
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // count))
    commands = [
        [
            sys.executable, "-c", "from nemo_mixsd.cli import app; app()", "analyze", "fisher",
            "--model", model_path, "--name", name, "--samples", str(listing), "--out", str(path),
            "--precision", precision, "--device", device, "--shard", f"{shard}/{count}",
            "--batch-size", str(settings.batch_size), "--batch-tokens", str(settings.batch_tokens),
            "--memory", settings.memory, "--save-every", str(settings.save_every),
        ]
        for shard, device in enumerate(devices)
    ]  # fmt: skip
    logger.info("Fisher: %d processes on %s", count, ", ".join(dict.fromkeys(devices)))
    processes = [subprocess.Popen(command, env=environment) for command in commands]
    try:
        failed = [shard for shard, process in enumerate(processes) if process.wait() != 0]
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
    if failed:
        raise AnalysisError(
            f"the Fisher process of shard(s) {', '.join(map(str, failed))} failed, its message is above; start the "
            "same command again: finished shards are kept"
        )
    parts = [shard_path(path, shard, count) for shard in range(count)]
    info = merge_fisher(parts, path)
    for file in (*parts, listing):
        file.unlink(missing_ok=True)
    return info
