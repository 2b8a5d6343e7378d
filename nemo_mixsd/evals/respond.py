"""Plain generation of one response a prompt, with any engine, resumable by response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemo_mixsd.errors import EngineError
from nemo_mixsd.io import write_jsonl
from nemo_mixsd.mixing.engines.base import Engine, SegmentRequest, SegmentResult
from nemo_mixsd.mixing.journal import Journal
from nemo_mixsd.progress import track


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt to answer.

    Attributes:
        id: Names it; unique among the prompts of one call.
        token_ids: Its token ids, after the chat template.
        sample: Number of the sample, 1 unless several are drawn.
        max_new_tokens: Longest response to this prompt; None is that of all.
    """

    id: str
    token_ids: tuple[int, ...]
    sample: int = 1
    max_new_tokens: int | None = None


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
                    max_tokens=prompt.max_new_tokens or max_new_tokens,
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


def collect(
    results: Iterable[tuple[str, SegmentResult]],
    make: Callable[[str, SegmentResult], Any],
    ids: Sequence[str],
    path: Path,
    journal: Journal,
    label: tuple[str, str],
) -> list[Any]:
    """Journal a record for each response as it is finished, then write them to their final file.

    Args:
        results: From ``respond``, for what is not in the journal yet.
        make: The record of a response.
        ids: Every id, in the order of the file.
        path: The final file.
        journal: Removed when ``path`` is written.
        label: What is being done, and what its items are, for the progress.

    Returns:
        The records, in the order of ``ids``.
    """
    with track(label[0], len(ids), label[1], len(journal)) as task:
        for key, result in results:
            journal.append(make(key, result))
            task.advance()
    records = [journal.read(key) for key in ids]
    write_jsonl(path, records)
    journal.remove()
    return records
