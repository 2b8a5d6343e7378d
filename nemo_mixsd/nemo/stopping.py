"""Ending the host's training early: the policy handed to the loop tells the loop which step is its last.

The loop reads ``sft.max_num_steps`` after each step, from the settings that it was given, so a step can be made the
last one while it is taken: the loop then saves a checkpoint and returns, as at any last step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemo_mixsd.nemo.listening import Wrapper
from nemo_mixsd.training.steps import StopRule

if TYPE_CHECKING:
    from nemo_rl.algorithms.sft import MasterConfig


class StoppingPolicy(Wrapper):
    """A policy in this process whose training ends when a rule says so."""

    def __init__(self, inner: Any, settings: MasterConfig, stop: StopRule, done: int) -> None:
        """Wrap ``inner``.

        Args:
            inner: An ``InProcessPolicy``: the rule looks at its model.
            settings: What the loop was given; its last step is set there.
            stop: The rule.
            done: Steps taken before this process started.
        """
        super().__init__(inner)
        self._settings = settings
        self._stop = stop
        self._step = done

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """One step of the policy, then a look at the model where one is due."""
        result = self._inner.train(*args, **kwargs)
        if kwargs.get("eval_mode"):
            return result
        self._step += 1
        if self._stop.met(self._step, self._inner.model):
            self._settings.sft.max_num_steps = self._step
        return result
