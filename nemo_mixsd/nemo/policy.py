"""NeMo-RL's policy and generation interfaces on a transformers model in this process: no GPU, no worker, no Ray.

With it the host's own loops, validation, loggers, checkpoint manager and resume run on a laptop and in tests. The
arithmetic follows the host's workers: one optimizer step a global batch, whose loss is normalised by the number of
target tokens of the whole global batch, whatever the micro-batches.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from nemo_rl.algorithms.loss.interfaces import LossFunction, LossInputType
from nemo_rl.distributed.batched_data_dict import BatchedDataDict
from nemo_rl.distributed.model_utils import get_distillation_topk_logprobs_from_logits
from nemo_rl.distributed.named_sharding import NamedSharding
from nemo_rl.models.generation.interfaces import GenerationInterface
from nemo_rl.models.policy.interfaces import ColocatablePolicyInterface

from nemo_mixsd import models
from nemo_mixsd.errors import BackendError, ConfigError
from nemo_mixsd.host_sections import OptimizerConfig
from nemo_mixsd.nemo.generation import GenerationSettings, generate
from nemo_mixsd.training.optim import make_optimizer, make_scheduler

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

OPTIMIZER_FILE = "optimizer.pt"
"""Optimizer, schedule and random state, inside the directory that the host calls ``optimizer``."""


class InProcessPolicy(ColocatablePolicyInterface, GenerationInterface):  # type: ignore[misc]
    """One model that is trained, scores and generates. Weights and optimizer state are float32.

    Attributes:
        cfg: The host's ``policy`` section.
        model: The transformers model.
        sharding_annotations: Says to the host that there is one data-parallel rank.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        tokenizer: PreTrainedTokenizerBase,
        weights_path: str | Path | None = None,
        optimizer_path: str | Path | None = None,
        init_optimizer: bool = True,
        device: str = "cpu",
    ) -> None:
        """Load the base model, or go on from a checkpoint.

        Args:
            config: The host's ``policy`` section.
            tokenizer: Saved beside the weights; decodes for stop strings.
            weights_path: ``policy/weights`` of a checkpoint, in place of the base model.
            optimizer_path: ``policy/optimizer`` of the same checkpoint.
            init_optimizer: False for a policy that is never trained (a teacher).
            device: Where the model lives.

        Raises:
            ConfigError: Optimizer or schedule do not fit, or there is no optimizer.
        """
        self.cfg = config
        self.tokenizer = tokenizer
        self.device = device
        self.sharding_annotations = NamedSharding([0], ["data_parallel"])
        path = str(weights_path) if weights_path else config["model_name"]
        self.model = models.load_model(path, "float32", device)
        self.model.config.use_cache = False
        # Of its own, so that a resumed run samples on where the checkpoint was, whatever else has drawn since.
        self.random = torch.Generator(device).manual_seed(torch.initial_seed())
        self.optimizer: torch.optim.Optimizer | None = None
        if init_optimizer:
            if not config.get("optimizer"):
                raise ConfigError("policy.optimizer is null; the in-process policy needs one, e.g. torch.optim.AdamW")
            settings = OptimizerConfig.model_validate(config["optimizer"])
            self.optimizer = make_optimizer(self.model.parameters(), settings)
            self.scheduler = make_scheduler(self.optimizer, config.get("scheduler"))
            if optimizer_path:
                self._load_optimizer(Path(optimizer_path) / OPTIMIZER_FILE)

    def _load_optimizer(self, file: Path) -> None:
        state = torch.load(file, map_location=self.device, weights_only=True)
        assert self.optimizer is not None
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["random"].cpu())
        self.random.set_state(state["sampling"].cpu())

    # ----- training -----

    def train(
        self,
        data: BatchedDataDict[Any],
        loss_fn: LossFunction,
        eval_mode: bool = False,
        *,
        gbs: int | None = None,
        mbs: int | None = None,
        timer: Any = None,
        **_host_options: Any,
    ) -> dict[str, Any]:
        """One optimizer step for each global batch in ``data``, or the loss alone.

        Args:
            data: ``input_ids`` ``[B, S]``, ``input_lengths`` ``[B]``, ``token_mask`` ``[B, S]`` (1 on target tokens,
                unshifted), ``sample_mask`` ``[B]``.
            loss_fn: A token-level loss of the host; it divides by the number of target tokens of the global batch.
            eval_mode: No gradients, no step.
            gbs: Samples in a global batch; the recipe's by default.
            mbs: Samples in a forward pass; the recipe's by default.
            timer: The host's; the work is not split further here.
            _host_options: Checks of the host's workers that need no counterpart.

        Returns:
            ``loss`` ``[B / gbs]`` float32, ``grad_norm`` a scalar before clipping (None in evaluation), and
            ``all_mb_metrics``: for each metric the list of its values by micro-batch; losses there sum to the loss.

        Raises:
            ConfigError: ``B`` is no multiple of ``gbs``, or ``gbs`` none of ``mbs``.
        """
        gbs = gbs or self.cfg["train_global_batch_size"]
        mbs = mbs or self.cfg["train_micro_batch_size"]
        if data.size % gbs or gbs % mbs:
            raise ConfigError(
                f"{data.size} samples do not divide into global batches of {gbs}, or those into micro-batches of "
                f"{mbs}: set policy.train_global_batch_size and policy.train_micro_batch_size to fit"
            )
        self.model.train(not eval_mode)
        losses: list[float] = []
        metrics: dict[str, list[Any]] = defaultdict(list)
        grad_norm: torch.Tensor | None = None
        with torch.no_grad() if eval_mode else nullcontext():
            for index in range(data.size // gbs):
                batch = data.get_batch(batch_idx=index, batch_size=gbs)
                losses.append(self._global_batch(batch, loss_fn, mbs, eval_mode, metrics))
                if not eval_mode:
                    grad_norm = self._step()
        if not eval_mode:
            self.scheduler.step()
        return {"loss": torch.tensor(losses), "grad_norm": grad_norm, "all_mb_metrics": dict(metrics)}

    def _global_batch(
        self,
        batch: BatchedDataDict[Any],
        loss_fn: LossFunction,
        mbs: int,
        eval_mode: bool,
        metrics: dict[str, list[Any]],
    ) -> float:
        """Loss of a global batch, with gradients unless evaluating; adds to ``metrics``."""
        sequences = batch["sample_mask"].sum()
        tokens = (batch["token_mask"][:, 1:] * batch["sample_mask"].unsqueeze(-1)).sum()
        total = 0.0
        for part in batch.make_microbatch_iterator(mbs):
            loss, found = loss_fn(
                data=part,
                global_valid_seqs=sequences,
                global_valid_toks=tokens,
                **self._loss_input(part, loss_fn),
            )
            if not eval_mode:
                loss.backward()
            if found["num_valid_samples"] <= 0:
                continue
            total += loss.item()
            found |= {"global_valid_seqs": sequences.item(), "global_valid_toks": tokens.item(), "lr": self._lr()}
            for name, value in found.items():
                metrics[name].append(value)
        return total

    def _step(self) -> torch.Tensor:
        assert self.optimizer is not None
        limit = self.cfg.get("max_grad_norm")
        # An infinite limit clips nothing and still measures the norm.
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), float("inf") if limit is None else limit)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm.detach().float().cpu()

    def _lr(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"]) if self.optimizer is not None else 0.0

    def _loss_input(self, part: BatchedDataDict[Any], loss_fn: LossFunction) -> dict[str, torch.Tensor | None]:
        """What the kind of loss takes, computed here: the host's own helper would move it to a GPU."""
        logits = self._logits(part)
        if loss_fn.input_type == LossInputType.LOGPROB:
            return {"next_token_logprobs": next_token_logprobs(logits, part["input_ids"])}
        if loss_fn.input_type == LossInputType.LOGIT:
            return {"logits": logits}
        if loss_fn.input_type == LossInputType.DISTILLATION:
            student, teacher, entropy = get_distillation_topk_logprobs_from_logits(
                student_logits=logits,
                teacher_topk_logits=part["teacher_topk_logits"],
                teacher_topk_indices=part["teacher_topk_indices"],
                zero_outside_topk=loss_fn.zero_outside_topk,
                calculate_entropy=loss_fn.zero_outside_topk and loss_fn.kl_type != "forward",
            )
            return {"student_topk_logprobs": student, "teacher_topk_logprobs": teacher, "H_all": entropy}
        raise BackendError(
            f"the in-process policy cannot compute the input of {type(loss_fn).__name__} ({loss_fn.input_type}); run "
            "this loss on GPUs (cluster.gpus_per_node above 0)"
        )

    def _logits(self, part: BatchedDataDict[Any]) -> torch.Tensor:
        """``[B, S, V]`` logits of right-padded sequences."""
        ids = part["input_ids"].to(self.device)
        lengths = part["input_lengths"].to(self.device)
        mask = (torch.arange(ids.shape[1], device=self.device) < lengths.unsqueeze(1)).long()
        with self._autocast():
            logits: torch.Tensor = self.model(input_ids=ids, attention_mask=mask).logits
        return logits.float()

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = getattr(torch, self.cfg["precision"])
        return nullcontext() if dtype is torch.float32 else torch.autocast(torch.device(self.device).type, dtype=dtype)

    # ----- scoring -----

    @torch.no_grad()
    def get_logprobs(self, data: BatchedDataDict[Any], timer: Any = None, **_host_options: Any) -> BatchedDataDict[Any]:
        """Log-probabilities of the sequences' own tokens.

        Returns:
            ``logprobs`` ``[B, S]`` float32: position s holds that of token s given those before; position 0 holds 0.
        """
        rows = [
            torch.nn.functional.pad(next_token_logprobs(logits, part["input_ids"]), (1, 0))
            for part, logits in self._scored(data)
        ]
        return BatchedDataDict(logprobs=torch.cat(rows).cpu())

    def get_reference_policy_logprobs(self, data: Any, micro_batch_size: int | None = None, timer: Any = None) -> Any:
        """Not offered: no loop that the in-process policy is for needs a second copy of the model.

        Raises:
            BackendError: Always.
        """
        raise BackendError("the in-process policy keeps no reference model; run this loop on GPUs")

    @torch.no_grad()
    def get_topk_logits(
        self, data: BatchedDataDict[Any], k: int, micro_batch_size: int | None = None, timer: Any = None
    ) -> BatchedDataDict[Any]:
        """The k highest logits at every position, unshifted: position s predicts token s + 1.

        Returns:
            ``topk_logits`` ``[B, S, k]`` float32, ``topk_indices`` ``[B, S, k]`` int64, and what the host's workers do
            not give: ``logsumexp`` ``[B, S]`` float32 over the vocabulary.
        """
        found = [(logits.topk(k, dim=-1), logits.logsumexp(-1)) for _, logits in self._scored(data, micro_batch_size)]
        return BatchedDataDict(
            topk_logits=torch.cat([top.values for top, _ in found]).cpu(),
            topk_indices=torch.cat([top.indices for top, _ in found]).cpu(),
            logsumexp=torch.cat([total for _, total in found]).cpu(),
        )

    def _scored(
        self, data: BatchedDataDict[Any], size: int | None = None
    ) -> Iterator[tuple[BatchedDataDict[Any], torch.Tensor]]:
        self.model.eval()
        size = size or self.cfg.get("logprob_batch_size") or self.cfg["train_micro_batch_size"]
        for start in range(0, data.size, size):
            part = data.slice(start, min(start + size, data.size))
            yield part, self._logits(part)

    # ----- generation -----

    def generate(self, data: BatchedDataDict[Any], greedy: bool = False) -> BatchedDataDict[Any]:
        """Continue prompts, by ``policy.generation`` of the recipe; see ``nemo_mixsd.nemo.generation``."""
        settings = GenerationSettings.from_host(self.cfg, self.tokenizer, greedy)
        self.model.eval()
        with self._autocast():
            return generate(self.model, self.tokenizer, data, settings, self.random)

    def prepare_for_generation(self, *args: Any, **kwargs: Any) -> bool:
        """Nothing to wake."""
        return True

    def finish_generation(self, *args: Any, **kwargs: Any) -> bool:
        """Nothing to put to sleep."""
        return True

    # ----- checkpoints -----

    def save_checkpoint(
        self,
        weights_path: str | Path,
        optimizer_path: str | Path | None = None,
        tokenizer_path: str | Path | None = None,
        checkpointing_cfg: Mapping[str, Any] | None = None,
        **_host_options: Any,
    ) -> None:
        """Write model and tokenizer in Hugging Face format, and what a resume needs beside them.

        Args:
            weights_path: Directory; ``from_pretrained`` loads model and tokenizer from it.
            optimizer_path: Directory for optimizer, schedule and random state; None writes none.
            tokenizer_path: Where the host expects the tokenizer too.
            checkpointing_cfg: The host's; formats do not apply.
            _host_options: Of later hosts.
        """
        self.model.save_pretrained(weights_path)
        for path in filter(None, (weights_path, tokenizer_path)):
            self.tokenizer.save_pretrained(path)
        if optimizer_path and self.optimizer is not None:
            Path(optimizer_path).mkdir(parents=True, exist_ok=True)
            state = {
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "random": torch.get_rng_state(),
                "sampling": self.random.get_state(),
            }
            torch.save(state, Path(optimizer_path) / OPTIMIZER_FILE)

    def finalize_async_save(self) -> None:
        """Saving is never asynchronous here."""

    # ----- what only a cluster needs: there is one copy of the weights, where everyone uses it -----

    def prepare_for_training(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to move."""

    def finish_training(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to move."""

    def prepare_for_lp_inference(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to move."""

    def offload_before_refit(self) -> None:
        """Nothing to move."""

    def offload_after_refit(self) -> None:
        """Nothing to move."""

    def offload_to_cpu(self) -> None:
        """Nothing to move."""

    def init_collective(self, *args: Any, **kwargs: Any) -> list[Any]:
        """No collective."""
        return []

    def prepare_refit_info(self, *args: Any, **kwargs: Any) -> None:
        """No refit."""

    def stream_weights_via_ipc_zmq(self, *args: Any, **kwargs: Any) -> list[Any]:
        """No refit."""
        return []

    def broadcast_weights_for_collective(self, *args: Any, **kwargs: Any) -> list[Any]:
        """No refit."""
        return []

    def calibrate_qkv_fp8_scales(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Not offered.

        Raises:
            BackendError: Always.
        """
        raise BackendError("the in-process policy has no fp8 cache to calibrate; run this recipe on GPUs")

    def print_node_ip_and_gpu_id(self) -> None:
        """Nothing to print."""

    def shutdown(self) -> bool:
        """Nothing to end."""
        return True


def next_token_logprobs(logits: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
    """Log-probability of each token given those before it.

    Args:
        logits: ``[B, S, V]``; position s predicts token s + 1.
        input_ids: ``[B, S]``.

    Returns:
        ``[B, S - 1]`` float32; entry s is that of token s + 1.
    """
    targets = input_ids[:, 1:].to(logits.device)
    flat = torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, logits.shape[-1]).float(), targets.reshape(-1), reduction="none"
    )
    return -flat.view_as(targets)
