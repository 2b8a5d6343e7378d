"""Small records, recipes and engines that many tests need."""

from collections import deque

from nemo_mixsd.config import RunConfig, validate_config
from nemo_mixsd.mixing.engines.base import SegmentRequest, SegmentResult
from nemo_mixsd.types import Example, Target
from tests.tiny import EOS


def example(i: int = 0, **changes) -> Example:
    fields = {
        "id": f"e{i}",
        "question": f"what is the colour of w{i} ?",
        "answer": "blue",
        "target": "blue",
        "context": f"the colour of w{i} is blue .",
        **changes,
    }
    return Example(**fields)


def target(i: int = 0, prompt=(2, 10, 3), tokens=(20, 21, EOS), **changes) -> Target:
    fields = {
        "example_id": f"e{i}",
        "prompt_ids": tuple(prompt),
        "token_ids": tuple(tokens),
        "from_naive": (False,) * len(tokens),
        "attempts": 1,
        "finish_reason": "stop" if tokens and tokens[-1] == EOS else "length",
        "text": " ".join(map(str, tokens)),
        **changes,
    }
    return Target(**fields)


def raw_recipe(**changes) -> dict:
    """A valid recipe as a mapping; keyword arguments are dotted keys with ``__`` for the dot."""
    raw: dict = {
        "run_dir": "runs/test",
        "corpus": {"name": "jsonl", "path": "facts.jsonl"},
        "policy": {"model_name": "owner/model"},
    }
    for dotted, value in changes.items():
        *sections, leaf = dotted.split("__")
        place = raw
        for section in sections:
            place = place.setdefault(section, {})
        place[leaf] = value
    return raw


def make_config(**changes) -> RunConfig:
    return validate_config(raw_recipe(**changes), "test.yaml")


class ScriptedEngine:
    """An engine whose next token is a plain function of the ids before it; finishes requests in reverse order."""

    name = "hf"

    def __init__(self, next_token, stop_ids=frozenset({EOS}), per_poll: int = 3) -> None:
        self.next_token = next_token
        self.stop_ids = stop_ids
        self.per_poll = per_poll
        self.waiting: deque[SegmentRequest] = deque()
        self.submitted: list[SegmentRequest] = []
        self.most_in_flight = 0

    def submit(self, request: SegmentRequest) -> None:
        self.submitted.append(request)
        self.waiting.append(request)
        self.most_in_flight = max(self.most_in_flight, len(self.waiting))

    def poll(self) -> list[SegmentResult]:
        done = []
        while self.waiting and len(done) < self.per_poll:
            request = self.waiting.pop()
            ids = list(request.prompt_ids)
            out: list[int] = []
            while len(out) < request.max_tokens and not (out and out[-1] in self.stop_ids):
                out.append(self.next_token(ids + out))
            done.append(SegmentResult(request.key, tuple(out), "stop" if out[-1] in self.stop_ids else "length"))
        return done

    def close(self) -> None:
        self.waiting.clear()
