"""Plain generation of one response a prompt, with any engine, resumable by response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nemo_mixsd.errors import EngineError
from nemo_mixsd.mixing.engines.base import Engine, SegmentRequest, SegmentResult


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt to answer: its id, its token ids, and the number of the sample (1 unless several are drawn)."""

    id: str
    token_ids: tuple[int, ...]
    sample: int = 1


def respond(
    engine: Engine, prompts: Iterable[Prompt], max_new_tokens: int, in_flight: int
) -> Iterator[tuple[str, SegmentResult]]:
    """Generate a response for each prompt, yielded as it is finished.

    Args:
        engine: Generates; its sampling decides greedy or not.
        prompts: Read as responses finish; ids must be unique.
        max_new_tokens: Longest response.
        in_flight: Responses generated at the same time.

    Raises:
        EngineError: The engine refused a prompt or died.
    """
    source = iter(prompts)
    flying = 0
    exhausted = False
    while True:
        while not exhausted and flying < in_flight:
            prompt = next(source, None)
            if prompt is None:
                exhausted = True
                break
            engine.submit(
                SegmentRequest(
                    key=prompt.id,
                    stream=prompt.id,
                    prompt_ids=prompt.token_ids,
                    max_tokens=max_new_tokens,
                    example_id=prompt.id,
                    attempt=prompt.sample,
                )
            )
            flying += 1
        if not flying:
            return
        results = engine.poll()
        if not results:
            raise EngineError(f"the engine lost {flying} responses")
        for result in results:
            flying -= 1
            yield result.key, result
