"""What the student says while it is trained: which prompts a step draws, and its own answers to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.utils.data import Dataset

from nemo_mixsd.errors import EngineError
from nemo_mixsd.mixing.engines.base import Sampling, SegmentRequest
from nemo_mixsd.training.data import data_order
from nemo_mixsd.training.distill_steps import DistillSchedule
from nemo_mixsd.training.teacher import TeacherPrompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Draw:
    """One response to be sampled.

    Attributes:
        prompt: What is asked.
        attempt: Key of the sampling noise, different for every draw of a training: 1, 2, ...
    """

    prompt: TeacherPrompt
    attempt: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A response of the student, or a target in its place: ``token_ids`` after ``prompt.naive_ids``."""

    prompt: TeacherPrompt
    token_ids: tuple[int, ...]


class DrawStream(Dataset[Draw]):
    """All draws of a training in order: step by step, the samples of a prompt side by side.

    A function of the arguments alone, so that a resumed training draws what an uninterrupted one draws.
    """

    def __init__(self, prompts: Sequence[TeacherPrompt], schedule: DistillSchedule, seed: int) -> None:
        self._prompts = prompts
        self._schedule = schedule
        self._order = data_order(len(prompts), schedule.steps * schedule.prompts_per_step, seed)

    def __len__(self) -> int:
        return self._schedule.steps * self._schedule.samples_per_step

    def __getitem__(self, index: int) -> Draw:
        return Draw(self._prompts[self._order[index // self._schedule.num_generations]], index + 1)


@dataclass(frozen=True, slots=True)
class Speaker:
    """How the student answers.

    Attributes:
        stop_ids: Ids that end a response.
        sampling: Greedy, or a temperature and the seed of the noise.
        max_new_tokens: Longest response.
        max_total_tokens: Longest prompt and response together, for student and teacher alike.
        in_flight: Responses generated at the same time; does not change them.
    """

    stop_ids: frozenset[int]
    sampling: Sampling
    max_new_tokens: int
    max_total_tokens: int
    in_flight: int

    def limit(self, prompt: TeacherPrompt) -> int:
        """Longest response to a prompt."""
        longest = max(len(prompt.naive_ids), len(prompt.expert_ids))
        return min(self.max_new_tokens, self.max_total_tokens - longest)

    def answer(self, model: PreTrainedModel, draws: Sequence[Draw]) -> list[Sample]:
        """Let the model as it is answer every draw, in the order of ``draws``.

        Args:
            model: In evaluation mode.
            draws: Each has another pair of example and attempt.

        Raises:
            EngineError: The engine failed; the text names the example.
        """
        from nemo_mixsd.mixing.engines.hf import HFEngine

        engine = HFEngine(model, self.stop_ids, self.sampling, min(self.in_flight, len(draws)))
        for i, draw in enumerate(draws):
            engine.submit(
                SegmentRequest(
                    key=str(i),
                    stream=str(i),
                    prompt_ids=draw.prompt.naive_ids,
                    max_tokens=self.limit(draw.prompt),
                    example_id=draw.prompt.example_id,
                    attempt=draw.attempt,
                )
            )
        found: dict[int, tuple[int, ...]] = {}
        while results := engine.poll():
            found |= {int(result.key): result.token_ids for result in results}
        engine.close()
        if len(found) != len(draws):
            raise EngineError(f"the engine lost {len(draws) - len(found)} rollouts of the student")
        return [Sample(draw.prompt, found[i]) for i, draw in enumerate(draws)]
