"""MEMIT (Meng et al., 2023) from facts to a checkpoint: moments, target values, and one update of all facts a layer.

Nothing is trained and no backend is asked: the edit runs in this process on a CPU or one GPU. What takes time is
resumable: the moments by chunk, in a cache for all runs, and the target values by edit, in a journal.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError

from nemo_mixsd import models
from nemo_mixsd.callbacks import CallbackRunner
from nemo_mixsd.config import RunConfig
from nemo_mixsd.editing.config import MemitConfig
from nemo_mixsd.editing.covariance import Moments, collect_moments, model_digest
from nemo_mixsd.editing.edits import Edit, Skipped, collect_edits
from nemo_mixsd.editing.layers import choose_layers, down_proj
from nemo_mixsd.editing.prefixes import random_prefixes
from nemo_mixsd.editing.records import edited_record, skipped_record
from nemo_mixsd.editing.states import last_hidden, last_keys
from nemo_mixsd.editing.texts import BaseModelText, TextSource, make_source
from nemo_mixsd.editing.update import closed_form_update
from nemo_mixsd.editing.values import EditPrompts, TargetValue, edit_prompts, optimise_value
from nemo_mixsd.errors import CorpusError, PromptError, StorageError
from nemo_mixsd.io import replace_directory, write_json, write_jsonl
from nemo_mixsd.mixing.journal import Journal, fingerprint
from nemo_mixsd.progress import track
from nemo_mixsd.prompts import PromptRenderer
from nemo_mixsd.training.steps import COMPLETE, TrainResult, finished
from nemo_mixsd.types import Example, Method

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

STEP = 1
"""The step of the only checkpoint: all edits are one update."""


def train_memit(
    config: RunConfig,
    model_path: str,
    renderer: PromptRenderer,
    examples: Sequence[Example],
    directory: Path,
    callbacks: CallbackRunner | None = None,
) -> TrainResult:
    """Edit a fresh copy of the base model, or go on where a killed run stopped.

    Args:
        config: The recipe; ``memit`` is read.
        model_path: The base model.
        renderer: Makes the naive prompts.
        examples: The training split.
        directory: Gets ``step_1/`` in Hugging Face format, ``edits.jsonl`` and ``complete.json``.
        callbacks: Hear the checkpoint and the end.

    Raises:
        CorpusError: Edits contradict each other, or none can be made.
        BackendError: The model is of another family, or the text for the covariance cannot be had.
        StorageError: Something cannot be written; what is finished is kept.
    """
    if (done := finished(directory)) is not None:
        return done
    start = time.monotonic()
    settings, callbacks = config.memit, callbacks or CallbackRunner()
    edits, skipped = collect_edits(examples)
    source = make_source(settings.covariance, settings.seed)
    model = models.load_model(model_path, settings.precision)
    model.requires_grad_(False)
    first, last = choose_layers(settings.layers, model.config)
    layers = range(first, last + 1)
    for layer in layers:
        down_proj(model, layer)  # a model of another family is refused before anything takes time
    prefixes = random_prefixes(model, renderer, settings.prefixes, settings.prefix_tokens, settings.seed)
    prompts, unlocated = _locate(renderer, edits, prefixes)
    for skip in (*skipped, *unlocated):
        logger.warning("memit: %s is skipped: it %s", skip.example_id, skip.reason)
    moments = prepare_moments(model, layers, source, renderer, settings)
    values = target_values(model, last, prompts, settings, directory)
    reached = apply_edits(model, layers, prompts, values, moments, settings)
    _save_checkpoint(model, renderer, directory)
    records = [skipped_record(skip) for skip in (*skipped, *unlocated)]
    by_id = {edit.example_id: edit for edit in edits}
    for prompt, value, part in zip(prompts, values, reached, strict=True):
        records.append(edited_record(by_id[prompt.example_id], prompt, value, part, renderer))
    order = {example.id: number for number, example in enumerate(examples)}
    write_jsonl(directory / "edits.jsonl", sorted(records, key=lambda record: order[record.example_id]))
    seconds = round(time.monotonic() - start, 2)
    write_json(directory / COMPLETE, {"step": STEP, "seconds": seconds})
    _journal_path(directory).unlink(missing_ok=True)
    path = directory / f"step_{STEP}"
    callbacks.emit("on_checkpoint_saved", Method.MEMIT.value, STEP, path)
    callbacks.emit("on_train_end", Method.MEMIT.value, STEP, path)
    return TrainResult(STEP, path, seconds)


def cache_directory(settings: MemitConfig) -> Path:
    """Where moments are kept for all runs."""
    chosen = settings.covariance.cache_dir
    return Path(chosen).expanduser() if chosen else models.cache_root() / "memit"


def prepare_moments(
    model: PreTrainedModel, layers: Sequence[int], source: TextSource, renderer: PromptRenderer, settings: MemitConfig
) -> Moments:
    """The moments of the layers, from the cache or collected now."""
    moments = Moments(cache_directory(settings) / model_digest(model, renderer) / source.key)
    if isinstance(source, BaseModelText):
        stop_ids = models.stop_token_ids(renderer.tokenizer, str(model.config._name_or_path))
        source.generate(model, renderer, stop_ids, moments.directory / "text.jsonl")
    collect_moments(model, list(layers), source, renderer, moments)
    return moments


def apply_edits(
    model: PreTrainedModel,
    layers: Sequence[int],
    prompts: Sequence[EditPrompts],
    values: Sequence[TargetValue],
    moments: Moments,
    settings: MemitConfig,
) -> list[float]:
    """Change the down-projections of ``model`` in place, layer by layer, all edits at once.

    What is missing of each target value is measured again before each layer, and an equal share of it is written into
    that layer and each later one (Meng et al. 2023, Algorithm 1).

    Returns:
        For each edit, the part of the wanted change of its hidden state that has come about.
    """
    heads = [edit.prompts[0].head for edit in prompts]
    places = [prompt.head for edit in prompts for prompt in edit.prompts]
    wanted = torch.tensor([value.value for value in values], dtype=torch.float64, device=model.device)
    missing = at_first = wanted - last_hidden(model, layers[-1], heads, settings.batch_size)
    with track("memit update", len(layers), "layers") as task:
        for number, layer in enumerate(layers):
            residual = missing / (len(layers) - number)
            keys = last_keys(model, layer, places, settings.batch_size)
            keys = keys.reshape(len(prompts), -1, keys.shape[-1]).mean(1)
            moment = moments.load(layer).to(model.device)
            change = closed_form_update(moment, keys.T, residual.T, settings.covariance_weight)
            weight = down_proj(model, layer).weight
            weight.data.copy_(weight.data.double() + change)
            missing = wanted - last_hidden(model, layers[-1], heads, settings.batch_size)
            task.advance()
    return (1 - missing.norm(dim=1) / at_first.norm(dim=1).clamp(min=1e-30)).tolist()  # type: ignore[no-any-return]


def _locate(
    renderer: PromptRenderer, edits: Sequence[Edit], prefixes: Sequence[str]
) -> tuple[list[EditPrompts], list[Skipped]]:
    found: list[EditPrompts] = []
    skipped: list[Skipped] = []
    for edit in edits:
        try:
            found.append(edit_prompts(renderer, edit, prefixes))
        except PromptError as error:
            skipped.append(Skipped(edit.example_id, f"has no subject on the token ids ({error})"))
    if not found:
        raise CorpusError(f"method memit: no edit is left: {skipped[0].example_id!r} {skipped[0].reason}")
    return found, skipped


def _journal_path(directory: Path) -> Path:
    return directory / ".values.journal"


def target_values(
    model: PreTrainedModel, layer: int, prompts: Sequence[EditPrompts], settings: MemitConfig, directory: Path
) -> list[TargetValue]:
    """The target value of every edit, those of an earlier start from their journal."""
    ignored = {"layers", "covariance", "covariance_weight", "batch_size"}
    ids = [(edit.example_id, [p.ids for p in edit.prompts], edit.answer_ids) for edit in prompts]
    key = fingerprint("memit", layer, settings.model_dump(mode="json", exclude=ignored), ids)
    journal = Journal(_journal_path(directory), key, {"value": TargetValue})
    try:
        with track("memit values", len(prompts), "edits", len(journal)) as task:
            for edit in prompts:
                if edit.example_id not in journal:
                    value = optimise_value(model, layer, edit, settings)
                    journal.append(value)
                    task.advance(note=f"answer {value.nll_before:.2f} -> {value.nll_after:.2f} nats")
        return [journal.read(edit.example_id) for edit in prompts]
    finally:
        journal.close()


def _save_checkpoint(model: PreTrainedModel, renderer: PromptRenderer, directory: Path) -> None:
    """Write ``step_1`` beside its place, sync it and rename it."""
    work = directory / ".work"
    place = directory / f"step_{STEP}"
    try:
        shutil.rmtree(work, ignore_errors=True)
        model.save_pretrained(work)
        renderer.tokenizer.save_pretrained(work)
        replace_directory(work, place)
    except (OSError, RuntimeError, SafetensorError) as error:  # safetensors has an error of its own
        raise StorageError(
            f"cannot write {place}: {error}; free space and start the same command again: moments and values are kept"
        ) from error
