"""The diagonal of the empirical Fisher information at the base model (Eq. 6 and 7, E.1 of the paper).

``F_j = 1/N sum_i (d/d theta_j  log p(y_i | x_i))^2``: the log-likelihood is the sum over the target tokens y_i of a
sample, prompt tokens left out; its gradient is squared in float32 and averaged over N samples. Each sample has a
gradient of its own, whatever is computed at the same time.

The file is safetensors: one float32 tensor a parameter, by its name in ``named_parameters()``, tied weights once.
Its metadata says what it is; sums that are not finished yet are kept beside it under another name, and are refused
where a Fisher is wanted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nemo_mixsd.analysis.fisher_squares import SquaredGradients, sum_dtype
from nemo_mixsd.analysis.fisher_store import MemoryMode, SumStore, make_store
from nemo_mixsd.analysis.nll import Scored
from nemo_mixsd.analysis.tensorfile import TensorFiles, opened, write_tensors
from nemo_mixsd.errors import AnalysisError
from nemo_mixsd.mixing.journal import fingerprint
from nemo_mixsd.progress import track

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

FORMAT = "nemo_mixsd.fisher.1"


@dataclass(frozen=True, slots=True)
class FisherSettings:
    """How a Fisher is computed. Nothing here but the shard changes what comes out.

    Attributes:
        batch_size: Most samples of one pass.
        batch_tokens: Most tokens of one pass, padding counted; a longer sample has a pass of its own.
        memory: Where the sums are kept while they grow.
        save_every: Samples after which the sums are written down, to go on from after an interruption.
        shard: Which share of the samples is this process's, from 0.
        shards: Of how many.
    """

    batch_size: int = 8
    batch_tokens: int = 2048
    memory: MemoryMode = "device"
    save_every: int = 64
    shard: int = 0
    shards: int = 1


@dataclass(frozen=True, slots=True)
class FisherInfo:
    """What a file of squared gradients says of itself.

    Attributes:
        kind: ``mean``: a Fisher; ``sums``: a share of one, or one that was interrupted.
        model: The model's name, for people.
        key: Digest of model, precision and samples.
        samples: How many samples belong to it: N, or those of the shard.
        done: How many of them are in it.
        tokens: Target tokens of those.
        log_likelihood: Of those, in nats, summed.
        shard: Which shard, from 0.
        shards: Of how many.
    """

    kind: str
    model: str
    key: str
    samples: int
    done: int = 0
    tokens: int = 0
    log_likelihood: float = 0.0
    shard: int = 0
    shards: int = 1

    def metadata(self) -> dict[str, str]:
        """As header texts."""
        return {"format": FORMAT, **{name: str(getattr(self, name)) for name in self.__dataclass_fields__}}

    @classmethod
    def parse(cls, metadata: dict[str, str], path: Path) -> FisherInfo:
        """From header texts.

        Raises:
            AnalysisError: They are of another kind of file.
        """
        if metadata.get("format") != FORMAT:
            raise AnalysisError(f"{path} is no Fisher file of this package; make one with nemo-mixsd analyze fisher")
        kinds = {"samples": int, "done": int, "tokens": int, "log_likelihood": float, "shard": int, "shards": int}
        return cls(**{name: kinds.get(name, str)(metadata[name]) for name in cls.__dataclass_fields__})  # type: ignore[arg-type]


def read_info(path: Path) -> FisherInfo:
    """What a file says of itself.

    Raises:
        AnalysisError: It is missing, cut off, or of another kind.
    """
    with opened(TensorFiles.of_file(path)) as files:
        return FisherInfo.parse(files.metadata, path)


def open_fisher(path: Path) -> TensorFiles:
    """Open a finished Fisher for reading.

    Raises:
        AnalysisError: It is missing, cut off, of another kind, or only the sums of an interrupted computation.
    """
    if not path.is_file() and journal_path(path).is_file():
        info = read_info(journal_path(path))
        raise AnalysisError(
            f"{path} is not finished: {info.done} of {info.samples} samples were done when its computation was "
            "interrupted; start the same command again, it goes on from there"
        )
    files = TensorFiles.of_file(path)
    info = FisherInfo.parse(files.metadata, path)
    if info.kind != "mean":
        files.close()
        raise AnalysisError(
            f"{path} holds sums of {info.done} of {info.samples} samples (shard {info.shard} of {info.shards}), no "
            "finished Fisher; finish its computation, or merge all shards with nemo-mixsd analyze fisher --merge"
        )
    return files


def journal_path(path: Path) -> Path:
    """Where the sums of an unfinished computation are kept."""
    return path.with_name(f".{path.name}.journal")


def shard_path(path: Path, shard: int, shards: int) -> Path:
    """Where the finished sums of a shard are kept; ``path`` itself for the only one."""
    return path if shards == 1 else path.with_name(f"{path.name}.shard-{shard}-of-{shards}")


def compute_fisher(
    model: PreTrainedModel,
    samples: Sequence[Scored],
    path: Path,
    settings: FisherSettings = FisherSettings(),
    model_name: str | None = None,
) -> FisherInfo:
    """Compute a Fisher, or a shard's sums of one, or go on where an interrupted computation stopped.

    Memory beside the model: one block of a layer's gradient, the activations of a batch, and the sums (4 bytes a
    parameter) unless ``settings.memory`` is ``disk``. Time a sample: a forward and a backward pass.

    Args:
        model: The base model, in evaluation mode; any precision.
        samples: All samples, also if this process takes a share; ids are unique.
        path: The Fisher; the sums of shard i of n go to ``shard_path(path, i, n)``.
        settings: How.
        model_name: What the file says the model is; ``config._name_or_path`` by default.

    Raises:
        AnalysisError: No samples, the samples do not fit the model, the model holds NaN, or the file that is there
            belongs to other samples or another model. It is left as it was.
        StorageError: Writing failed; what was saved last is whole.
    """
    name = model_name or str(model.config._name_or_path)
    out = shard_path(path, settings.shard, settings.shards)
    check_samples(model, samples)
    ordered = sorted(samples, key=lambda s: (-_length(s), s.id))  # what does not fit in memory says so at once
    mine = ordered[settings.shard :: settings.shards]
    key = fisher_key(name, str(next(model.parameters()).dtype).removeprefix("torch."), samples)
    info = FisherInfo("sums", name, key, len(mine), shard=settings.shard, shards=settings.shards)
    if out.exists():
        return check_same(read_info(out), key, out, (info.shard, info.shards))
    layout = {n: tuple(p.shape) for n, p in model.named_parameters()}
    out.parent.mkdir(parents=True, exist_ok=True)
    store = make_store(settings.memory, layout, sum_dtype(model), model.device, out.parent)
    try:
        info = _resume(store, info, journal_path(out))
        info = _add_all(model, store, mine, settings, info, journal_path(out))
        if settings.shards > 1:
            _save(store, info, out)
        else:
            info = replace(info, kind="mean")
            _save(store, info, out, scale=1 / info.done)
    finally:
        store.close()
    journal_path(out).unlink(missing_ok=True)
    return info


def fisher_key(model_name: str, precision: str, samples: Sequence[Scored]) -> str:
    """What a Fisher depends on: equal keys, equal Fishers."""
    listed = sorted((s.id, s.prompt_ids, s.token_ids) for s in samples)
    return fingerprint("fisher", model_name, precision, listed)


def check_samples(model: PreTrainedModel, samples: Sequence[Scored]) -> None:
    """Refuse samples that the model cannot take.

    Raises:
        AnalysisError: Names the sample.
    """
    if not samples:
        raise AnalysisError("a Fisher estimate needs at least one sample; give a file that has some")
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    seen: set[str] = set()
    for sample in samples:
        ids = [*sample.prompt_ids, *sample.token_ids]
        if not sample.prompt_ids or not sample.token_ids:
            raise AnalysisError(f"sample {sample.id!r} has no prompt or no target tokens")
        if context and len(ids) > context:
            raise AnalysisError(
                f"sample {sample.id!r} has {len(ids)} tokens, the model's context is {context}; leave it out"
            )
        if max(ids) >= vocabulary:
            raise AnalysisError(
                f"sample {sample.id!r} has token id {max(ids)}, the model knows {vocabulary}: another tokenizer's?"
            )
        if sample.id in seen:
            raise AnalysisError(f"sample id {sample.id!r} occurs twice")
        seen.add(sample.id)


def batches(samples: Sequence[Scored], batch_size: int, batch_tokens: int) -> Iterator[list[Scored]]:
    """Runs of samples, longest first, within both limits when padded to the first one's length."""
    batch: list[Scored] = []
    for sample in samples:
        if batch and (len(batch) == batch_size or _length(batch[0]) * (len(batch) + 1) > batch_tokens):
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


def _length(sample: Scored) -> int:
    return len(sample.prompt_ids) + len(sample.token_ids)


def _add_all(
    model: PreTrainedModel,
    store: SumStore,
    samples: Sequence[Scored],
    settings: FisherSettings,
    info: FisherInfo,
    journal: Path,
) -> FisherInfo:
    """Add what is not in the store yet, saving now and then."""
    saved = info.done
    with (
        SquaredGradients(model, store) as squares,
        track("Fisher", len(samples), "samples", info.done) as task,
    ):
        if squares.one_by_one:
            logger.info("one sample a pass: no rule for the gradients of %s", ", ".join(list(squares.rules.rest)[:3]))
        for batch in batches(samples[info.done :], settings.batch_size, settings.batch_tokens):
            if info.done - saved >= settings.save_every:
                _save(store, info, journal)
                saved = info.done
            likelihood = squares.add(batch)
            info = replace(
                info,
                done=info.done + len(batch),
                tokens=info.tokens + sum(len(s.token_ids) for s in batch),
                log_likelihood=info.log_likelihood + likelihood,
            )
            task.advance(len(batch))
    return info


def check_same(found: FisherInfo, key: str, path: Path, shard: tuple[int, int] = (0, 1)) -> FisherInfo:
    """Refuse a file that is there and belongs to something else.

    Raises:
        AnalysisError: Its key or shard differs; the file is left as it was.
    """
    if (found.key, (found.shard, found.shards)) == (key, shard):
        return found
    raise AnalysisError(
        f"{path} was made with another model, precision or other samples ({found.samples} samples, model "
        f"{found.model}); it is left as it is: give another path, or delete it"
    )


def _resume(store: SumStore, info: FisherInfo, journal: Path) -> FisherInfo:
    """Load what an interrupted computation saved, if it was the same one."""
    if not journal.exists():
        return info
    with opened(TensorFiles.of_file(journal)) as files:
        found = FisherInfo.parse(files.metadata, journal)
        check_same(found, info.key, journal, (info.shard, info.shards))
        for name, shape in store.layout.items():
            if files.shapes.get(name) != shape:
                raise AnalysisError(f"{journal} has no {name} of shape {shape}; delete it to start again")
            store.load(name, files.whole(name))
    logger.info("Fisher: %d of %d samples were done before", found.done, found.samples)
    return found


def _save(store: SumStore, info: FisherInfo, path: Path, scale: float = 1.0) -> None:
    kind = "F64" if store.dtype == torch.float64 else "F32"
    read = store.read if scale == 1 else lambda name: store.read(name) * scale
    write_tensors(path, store.layout, kind, read, info.metadata())  # type: ignore[arg-type]
