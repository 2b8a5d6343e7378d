"""What an engine offers: next tokens of token-id prompts. All else (coins, retries, journal) is the mixer's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from nemo_mixsd.types import FinishReason


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        temperature: 0 is greedy.
        top_k: Sample among the k likeliest only; None is the whole vocabulary.
        seed: Seed of the noise; with example, attempt and position it decides every sampled token.
    """

    temperature: float = 0.0
    top_k: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SegmentRequest:
    """Decode up to ``max_tokens`` tokens after ``prompt_ids``, or until a stop id (which is part of the result).

    Attributes:
        key: Names the request in its result; unique among those in flight.
        stream: Requests of one stream mostly continue each other: a hint for caches, without effect on tokens.
        prompt_ids: Everything before the first new token.
        max_tokens: Upper bound on new tokens, at least 1.
        example_id: For noise and for errors.
        attempt: For noise.
        position: Index, within the whole target, of the first new token: for noise.
    """

    key: str
    stream: str
    prompt_ids: tuple[int, ...]
    max_tokens: int
    example_id: str
    attempt: int = 1
    position: int = 0


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """The tokens of a finished request. ``finish_reason`` is ``stop`` exactly if the last one is a stop id."""

    key: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason


class Engine(Protocol):
    """Generates segments, many at a time, in whatever order suits it.

    ``submit`` hands a request over and returns at once; ``poll`` works until at least one request is finished and
    returns all that are. Results do not depend on what else is in flight.

    Raises:
        EngineError: From ``submit`` or ``poll``, when a request is refused or the engine dies; names the example.
    """

    name: str

    def submit(self, request: SegmentRequest) -> None:
        """Take a request."""
        ...

    def poll(self) -> list[SegmentResult]:
        """Finished requests; an empty list exactly if none are in flight."""
        ...

    def close(self) -> None:
        """Give up memory and processes. Requests in flight are lost."""
        ...
