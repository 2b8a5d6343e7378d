"""Squares of per-sample gradients, exact, with one backward pass a batch (Eq. 7 of the paper).

The loss of a batch is the sum of its samples' log-likelihoods, and no sample sees another, so the gradient that
reaches a layer's output, ``G [B, T, O]``, holds each sample's own. With the layer's input ``A [B, T, I]`` the gradient
of sample i is ``G_i^T A_i`` for a linear layer, and rows of ``G_i`` added by token for an embedding. It is made in
blocks that fit a processor's cache, squared, added to the sums, and gone: the gradient of a whole model is never in
memory, nor is it written to it and read again, which is what a plain loop spends much of its time on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nemo_mixsd.analysis.fisher_rules import Rules, find_rules
from nemo_mixsd.analysis.fisher_store import SumStore, matrix_shape
from nemo_mixsd.analysis.nll import Scored
from nemo_mixsd.errors import AnalysisError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BLOCK = {"cpu": 2**19}
"""Values of a gradient made at a time: 2 MiB on a CPU, whose cache then holds the block and its sums."""
_LARGE_BLOCK = 2**26


def sum_dtype(model: PreTrainedModel) -> torch.dtype:
    """Dtype in which gradients are formed, squared and added: float64 for a float64 model, else float32."""
    return torch.float64 if next(model.parameters()).dtype == torch.float64 else torch.float32


class SquaredGradients:
    """Adds squared per-sample gradients of a model to a store. A context manager: it hangs hooks on the model."""

    def __init__(self, model: PreTrainedModel, store: SumStore) -> None:
        """Find a rule for each parameter.

        Args:
            model: In evaluation mode (no dropout), causal: what is padded on the right changes nothing before it.
            store: Gets the squares; its layout is that of ``model.named_parameters()``.
        """
        self.model = model
        self.rules: Rules = find_rules(model)
        self._store = store
        self._dtype = store.dtype
        self._block = BLOCK.get(model.device.type, _LARGE_BLOCK)
        self._buffer = torch.empty(0, dtype=store.dtype, device=model.device)
        self._hooks: list[Any] = []
        self._needed = {name: p.requires_grad for name, p in model.named_parameters()}
        self._ids: list[Tensor] = []
        self._lengths: list[int] = []
        self._asked = torch.empty(0)
        self._counts: list[int] = []
        self._apart: list[Tensor] = []
        self._replaying = False

    @property
    def one_by_one(self) -> bool:
        """Whether some parameter has no rule, so that batches are of one sample."""
        return bool(self.rules.rest)

    def __enter__(self) -> SquaredGradients:
        """Hang the hooks; parameters with a rule need no gradient of autograd's."""
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name in self.rules.rest)
        for module, kind in self.rules.modules.items():
            hook = self._embedded if kind == "embedding" else self._called
            self._hooks.append(module.register_forward_hook(hook))
        if self.rules.head is not None:
            self._hooks.append(self.rules.head.register_forward_pre_hook(self._ask_targets))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the hooks off and leave the model as it was."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self._needed[name])
            parameter.grad = None

    def add(self, samples: Sequence[Scored]) -> float:
        """Add the squares of a batch's per-sample gradients; return its log-likelihood, in nats, summed.

        Raises:
            AnalysisError: The log-likelihood is no finite number; nothing was added.
        """
        if not self.one_by_one:
            return self._backward(samples)
        return sum(self._backward([sample]) for sample in samples)

    def _backward(self, samples: Sequence[Scored]) -> float:
        device = self.model.device
        self._ids = [torch.tensor([*s.prompt_ids, *s.token_ids], device=device) for s in samples]
        self._lengths = [len(ids) for ids in self._ids]
        self._counts = [len(s.token_ids) for s in samples]
        width = max(self._lengths)
        ids = nn.utils.rnn.pad_sequence(self._ids, batch_first=True)
        asked = [
            torch.arange(i * width + n - c - 1, i * width + n - 1)
            for i, (n, c) in enumerate(zip(self._lengths, self._counts, strict=True))
        ]
        self._asked = torch.cat(asked).to(device)
        with torch.enable_grad():
            logits = self.model(input_ids=ids, use_cache=False).logits
            if self.rules.head is None:
                logits = logits.flatten(0, 1)[self._asked]
            logits = logits.flatten(0, -2)
        value, gradient = self._likelihood(logits.detach())
        if not math.isfinite(value):
            named = ", ".join(repr(s.id) for s in samples)
            raise AnalysisError(f"the log-likelihood of sample(s) {named} is {value}: does the model hold NaN weights?")
        self._apart.clear()
        logits.backward(gradient)  # type: ignore[no-untyped-call]
        for name, parameter in self.rules.rest.items():
            if parameter.grad is not None:
                rows, columns = matrix_shape(self._store.layout[name])
                grad = parameter.grad.to(self._dtype).reshape(rows, columns)
                with self._store.block(name, 0, rows) as sums:
                    sums.addcmul_(grad, grad)
                parameter.grad = None
        return value

    def _likelihood(self, logits: Tensor) -> tuple[float, Tensor]:
        """Summed log-likelihood of the target tokens, and its gradient by ``logits [tokens, V]``: onehot - softmax.

        Written out, since autograd would make and keep three more matrices as wide as the vocabulary.
        """
        targets = torch.cat([i[-c:] for i, c in zip(self._ids, self._counts, strict=True)]).unsqueeze(1)
        logarithms = torch.log_softmax(logits.to(self._dtype), -1)
        value = float(logarithms.gather(1, targets).double().sum())
        gradient = logarithms.exp_().neg_()
        gradient.scatter_add_(1, targets, torch.ones_like(gradient[:, :1]))
        return value, gradient.to(logits.dtype)

    def _ask_targets(self, module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        """Hidden states ``[B, T, H]`` of the positions that predict a target token, as ``[1, tokens, H]``."""
        return (args[0].flatten(0, 1)[self._asked].unsqueeze(0),)

    def _called(self, module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        inputs = args[0].detach()
        if output.requires_grad and not self._replaying:
            output.register_hook(lambda grad: self._arrived(module, inputs, grad))  # type: ignore[no-untyped-call]

    def _embedded(self, module: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
        """The embedding needs no gradient, what comes after it does."""
        output = output.detach().requires_grad_()
        output.register_hook(lambda grad: self._add_embedding(module, grad))  # type: ignore[no-untyped-call]
        return output

    @torch.no_grad()
    def _arrived(self, module: nn.Module, inputs: Tensor, grad: Tensor) -> None:
        kind = self.rules.modules[module]
        if kind == "replay":
            self._add_replay(module, inputs, grad)
        elif kind == "scale":
            self._add_scale(module, inputs, grad)
        else:
            self._add_linear(module, self._rows(module, inputs), self._rows(module, grad))

    def _rows(self, module: nn.Module, values: Tensor) -> list[Tensor]:
        """``[B, T, ..., N]`` as one matrix ``[rows, N]`` a sample, without what is padded."""
        values = values.to(self._dtype)
        if module is self.rules.head:
            return list(torch.split(values[0], self._counts))
        return [values[i, :n].reshape(-1, values.shape[-1]) for i, n in enumerate(self._lengths)]

    def _add_linear(self, module: nn.Module, inputs: list[Tensor], grads: list[Tensor]) -> None:
        names = self.rules.names[module]
        rows, columns = module.weight.shape  # type: ignore[union-attr,misc]
        step = max(1, self._block // columns)
        if self._buffer.numel() < step * columns:
            self._buffer = torch.empty(step * columns, dtype=self._dtype, device=self.model.device)
        starts = list(range(0, rows, step))
        apart = self._set_apart(inputs, grads, starts) if names["weight"] == self.rules.tied else None
        for k, start in enumerate(starts):
            stop = min(start + step, rows)
            gradient = self._buffer[: (stop - start) * columns].view(stop - start, columns)
            with self._store.block(names["weight"], start, stop) as sums:
                for i, (a, g) in enumerate(zip(inputs, grads, strict=True)):
                    torch.mm(g[:, start:stop].T, a, out=gradient)
                    if apart is not None:
                        gradient.index_fill_(0, apart[i][k], 0)
                    sums.addcmul_(gradient, gradient)
        if "bias" in names:
            with self._store.block(names["bias"], 0, 1) as sums:
                for g in grads:
                    sums.add_(g.sum(0).square_())

    def _set_apart(self, inputs: list[Tensor], grads: list[Tensor], starts: list[int]) -> list[list[Tensor]]:
        """Of a tied weight: the rows that the embedding adds to, for each sample and block of the output layer.

        Their gradient is the sum of two uses and is squared when the embedding's half is there; until then, the output
        layer's half of these few rows is kept.
        """
        padding = getattr(self.model.get_input_embeddings(), "padding_idx", None)
        local = []
        for ids, a, g in zip(self._ids, inputs, grads, strict=True):
            tokens = torch.unique(ids[ids != padding] if padding is not None else ids)
            self._apart.append(g[:, tokens].T @ a)
            bounds = torch.searchsorted(tokens, torch.tensor([*starts[1:], g.shape[1]], device=tokens.device)).tolist()
            runs = zip([0, *bounds[:-1]], bounds, starts, strict=True)
            local.append([tokens[low:high] - start for low, high, start in runs])
        return local

    @torch.no_grad()
    def _add_embedding(self, module: nn.Module, grad: Tensor) -> None:
        name = self.rules.names[module]["weight"]
        padding = module.padding_idx
        for i, (ids, g) in enumerate(zip(self._ids, self._rows(module, grad), strict=True)):
            real = ids != padding if padding is not None else torch.ones_like(ids, dtype=torch.bool)
            tokens, place = torch.unique(ids[real], return_inverse=True)
            rows = torch.zeros(len(tokens), g.shape[1], dtype=g.dtype, device=g.device)
            rows.index_add_(0, place, g[real])
            if name == self.rules.tied:
                rows += self._apart[i]
            self._store.add_rows(name, tokens, rows.square_())

    def _add_scale(self, module: nn.Module, inputs: Tensor, grad: Tensor) -> None:
        """A norm's output is affine in its weight, so that its outputs at 1 and 0 give what the weight multiplies."""
        weight = module.weight
        ones = torch.ones(weight.shape, dtype=self._dtype, device=inputs.device)  # type: ignore[arg-type]
        inputs = inputs.to(self._dtype)
        factor = torch.func.functional_call(module, {"weight": ones}, (inputs,))
        origin = torch.func.functional_call(module, {"weight": torch.zeros_like(ones)}, (inputs[:1, :1],))
        if origin.any():  # as in Gemma's norms, where the factor is 1 + weight
            factor = factor - torch.func.functional_call(module, {"weight": torch.zeros_like(ones)}, (inputs,))
        gradient = (factor * grad.to(self._dtype)).flatten(1, -2).sum(1)  # padded rows of G are zero
        with self._store.block(self.rules.names[module]["weight"], 0, 1) as sums:
            sums.add_(gradient.square_().sum(0))

    def _add_replay(self, module: nn.Module, inputs: Tensor, grad: Tensor) -> None:
        names = self.rules.names[module]
        inputs, grad = inputs.to(self._dtype), grad.to(self._dtype)
        self._replaying = True  # calling the module calls its hooks too
        for i, n in enumerate(self._lengths):
            own = {a: module.get_parameter(a).detach().to(self._dtype).requires_grad_() for a in names}
            with torch.enable_grad():
                output = torch.func.functional_call(module, own, (inputs[i : i + 1, :n],))
                grads = torch.autograd.grad(output, list(own.values()), grad[i : i + 1, :n])
            for name, gradient in zip(names.values(), grads, strict=True):
                rows, columns = matrix_shape(self._store.layout[name])
                with self._store.block(name, 0, rows) as sums:
                    sums.add_(gradient.reshape(rows, columns).square())
        self._replaying = False
