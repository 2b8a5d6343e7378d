"""Mixed rollouts: chains of segments over one shared prefix, verified and retried (Section 3.2, Appendix D).

The coins of an attempt are known beforehand, so a run of equal coins is one engine request of known length. Examples
never wait for each other: each finished segment at once submits the next one of its own rollout, and a rejected
target starts again with new coins while others are still being generated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nemo_mixsd.errors import EngineError
from nemo_mixsd.mixing.coins import coins
from nemo_mixsd.mixing.engines.base import Engine, SegmentRequest, SegmentResult
from nemo_mixsd.mixing.verifier import Verifier
from nemo_mixsd.types import Discard, FinishReason, MixRequest, Target


@dataclass(frozen=True, slots=True)
class MixerSettings:
    """What decides the targets, beside model and prompts (but for ``max_in_flight``, which changes nothing).

    Attributes:
        name: The report name of the method, kept in discards (``mixsd@0.3``).
        rate: λ = P(naive).
        seed: Seed of the coins.
        max_retries: Rollouts after the first one that may be rejected before the example is discarded.
        max_new_tokens: Longest target.
        max_total_tokens: Longest prompt and target together, for either conditional.
        accept_truncated: Whether a target that hit a length limit may be accepted.
        deterministic: Whether the engine decodes greedily, so that without a choice of coin a retry repeats itself.
        max_in_flight: Examples generated at the same time.
    """

    name: str
    rate: float
    seed: int = 0
    max_retries: int = 10
    max_new_tokens: int = 8192
    max_total_tokens: int = 10_000
    accept_truncated: bool = False
    deterministic: bool = True
    max_in_flight: int = 64


class Rollouts(Protocol):
    """What turns prompts into outcomes: ``Mixer`` in this process, or workers elsewhere."""

    @property
    def settings(self) -> MixerSettings:
        """What decides the targets."""
        ...

    def run(self, requests: Iterable[MixRequest]) -> Iterator[Target | Discard]:
        """Generate one outcome an example, yielded as it is finished, in no fixed order.

        Raises:
            EngineError: The engine refused a request or died; the text names the example.
        """
        ...


class _Rollout:
    """One example in flight: its coins and what the current attempt has decoded."""

    def __init__(self, request: MixRequest, settings: MixerSettings) -> None:
        longest = max(len(request.naive_ids), len(request.expert_ids))
        self.request = request
        self.settings = settings
        self.limit = min(settings.max_new_tokens, settings.max_total_tokens - longest)
        if self.limit < 1:
            raise EngineError(
                f"example {request.example_id!r}: a prompt of {longest} tokens leaves no room below "
                f"mixing.max_total_tokens={settings.max_total_tokens}"
            )
        self.attempt = 0
        self.generated = 0
        self.tokens: list[int] = []
        self.flips: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)
        self.retry()

    def retry(self) -> None:
        """Start the next attempt, with new coins."""
        self.attempt += 1
        self.tokens = []
        self.flips = coins(self.settings.seed, self.request.example_id, self.attempt, self.limit, self.settings.rate)

    def next_segment(self) -> SegmentRequest:
        """The run of equal coins that starts at the current position."""
        start = len(self.tokens)
        naive = bool(self.flips[start])
        turns = np.flatnonzero(self.flips[start:] != naive)
        length = int(turns[0]) if len(turns) else self.limit - start
        prompt = self.request.naive_ids if naive else self.request.expert_ids
        example_id = self.request.example_id
        return SegmentRequest(
            key=example_id,
            stream=f"{'naive' if naive else 'expert'}:{example_id}",
            prompt_ids=(*prompt, *self.tokens),
            max_tokens=length,
            example_id=example_id,
            attempt=self.attempt,
            position=start,
        )

    def can_change(self) -> bool:
        """Whether another attempt could give another target."""
        return self.attempt <= self.settings.max_retries and not (
            self.settings.deterministic and self.settings.rate in (0.0, 1.0)
        )


class Mixer:
    """Turns prompts into verified targets with an engine."""

    def __init__(
        self,
        engine: Engine,
        verifier: Verifier,
        decode: Callable[[tuple[int, ...]], str],
        settings: MixerSettings,
    ) -> None:
        """Put the parts together.

        Args:
            engine: Generates segments; its stop ids end a target from either conditional.
            verifier: Accepts or rejects a finished target's text.
            decode: Token ids to text without special tokens.
            settings: See ``MixerSettings``.
        """
        self._engine = engine
        self._verifier = verifier
        self._decode = decode
        self.settings = settings

    def run(self, requests: Iterable[MixRequest]) -> Iterator[Target | Discard]:
        """Generate one outcome an example, yielded as it is finished, in no fixed order.

        ``requests`` is read only as fast as examples finish: never more than ``max_in_flight`` are held.

        Raises:
            EngineError: The engine refused a request or died; the text names the example.
        """
        source = iter(requests)
        flying: dict[str, _Rollout] = {}
        exhausted = False
        while True:
            while not exhausted and len(flying) < self.settings.max_in_flight:
                request = next(source, None)
                if request is None:
                    exhausted = True
                    break
                rollout = _Rollout(request, self.settings)
                flying[request.example_id] = rollout
                self._engine.submit(rollout.next_segment())
            if not flying:
                return
            results = self._engine.poll()
            if not results:
                raise EngineError(f"the engine lost {len(flying)} examples, {next(iter(flying))!r} among them")
            for result in results:
                outcome = self._advance(flying[result.key], result)
                if outcome is not None:
                    del flying[result.key]
                    yield outcome

    def _advance(self, rollout: _Rollout, result: SegmentResult) -> Target | Discard | None:
        """Add a finished segment to its rollout; the outcome if the example is finished by it."""
        rollout.tokens.extend(result.token_ids)
        rollout.generated += len(result.token_ids)
        stopped = result.finish_reason == "stop"
        if not stopped and len(rollout.tokens) < rollout.limit:
            self._engine.submit(rollout.next_segment())
            return None
        reason: FinishReason = "stop" if stopped else "length"
        request = rollout.request
        text = self._decode(tuple(rollout.tokens))
        rejection = self._reject(text, reason, (request.answer, *request.aliases))
        if rejection is None:
            return Target(
                example_id=request.example_id,
                prompt_ids=request.naive_ids,
                token_ids=tuple(rollout.tokens),
                from_naive=tuple(rollout.flips[: len(rollout.tokens)].tolist()),
                attempts=rollout.attempt,
                finish_reason=reason,
                text=text,
                generated=rollout.generated,
            )
        if rollout.can_change():
            rollout.retry()
            self._engine.submit(rollout.next_segment())
            return None
        return Discard(
            request.example_id,
            self.settings.name,
            rollout.attempt,
            request.answer,
            text,
            rejection,
            rollout.generated,
        )

    def _reject(self, text: str, reason: FinishReason, answers: tuple[str, ...]) -> str | None:
        """Why a finished rollout is rejected, or None if it is accepted."""
        if not self._verifier.verify(text, answers):
            return self._verifier.explain(text, answers)
        if reason == "length" and not self.settings.accept_truncated:
            return "cut at the length limit"
        return None
