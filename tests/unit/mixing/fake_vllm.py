"""A vLLM of one line: the next token is a function of all before it. Keeps the rules of resumable requests."""

import hashlib
import os
import signal

from nemo_mixsd.mixing.coins import coin
from nemo_mixsd.mixing.engines.vllm import VLLMEngine
from nemo_mixsd.mixing.engines.vllm_core import CoreOutput

EOS = 1
VOCABULARY = 50


def next_token(ids, salt=0):
    digest = hashlib.blake2b(repr((salt, *ids)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % VOCABULARY


def loop(request, rate, seed, limit, attempt=1, salt=0):
    """Eq. 4 word for word."""
    out, naive_flags = [], []
    for position in range(limit):
        naive = coin(seed, request.example_id, attempt, position, rate)
        out.append(next_token((*(request.naive_ids if naive else request.expert_ids), *out), salt))
        naive_flags.append(naive)
        if out[-1] == EOS:
            break
    return tuple(out), tuple(naive_flags)


class FakeCore:
    """Decodes one token a step for each busy request, ``batch`` of them at most."""

    def __init__(self, slots=8, capacity=None, context=10_000, resumable=True, batch=None, salt=0):
        self.slots, self.capacity, self.context, self.resumable = slots, capacity, context, resumable
        self.batch = batch or slots
        self.salt = salt
        self.held = {}  # name -> ids whose keys and values are held
        self.busy = {}  # name -> [ids so far, tokens left, tokens of this segment]
        self.computed = 0
        self.most_held = 0
        self.steps = 0
        self.refuse = None
        self.fail_at = None
        self.end_with_error = None
        self.closed = False

    def add(self, name, ids, segment):
        if segment.example_id == self.refuse:
            raise ValueError("no such token id")
        assert name not in self.busy, "a request that is not finished cannot go on"
        assert ids, "an empty input"
        held = self.held.get(name, [])
        assert [*held, *ids] == list(segment.prompt_ids), "the session does not hold what it should"
        self.held[name] = held
        self.busy[name] = [[*held, *ids], segment.max_tokens, 0]
        self.computed += len(ids)
        assert len(self.held) <= self.slots, "more sessions than vLLM has slots"

    def step(self):
        self.steps += 1
        if self.fail_at == self.steps:
            raise RuntimeError("CUDA error: device lost")
        outputs = []
        for name in list(self.busy)[: self.batch]:
            state = self.busy.pop(name)
            if self.end_with_error == name:
                outputs.append(CoreOutput(name, (), "error"))
                continue
            token = next_token(state[0], self.salt)
            state[0].append(token)
            state[1] -= 1
            finish = "stop" if token == EOS else "length" if state[1] == 0 else None
            if finish is None:
                self.busy[name] = state
                self.computed += 1
            elif self.resumable:
                self.held[name] = state[0][:-1]  # the last token is not computed yet
            else:
                del self.held[name]
            outputs.append(CoreOutput(name, (token,), finish))
        self.most_held = max(self.most_held, sum(map(len, self.held.values())))
        return outputs

    def end(self, names):
        for name in names:
            assert name not in self.busy, "a busy session was given up"
            del self.held[name]

    def close(self):
        self.closed = True


class StartFake:
    """A factory for shards."""

    def __init__(self, die_at=None, fail_at=None, refuse_start=None):
        self.die_at, self.fail_at, self.refuse_start = die_at, fail_at, refuse_start

    def __call__(self, shard):
        if self.refuse_start == shard:
            raise RuntimeError("no such device")
        core = FakeCore(slots=16)
        if shard == 1:
            core.fail_at = self.fail_at
        engine = VLLMEngine(core, frozenset({EOS}))
        if shard == 1 and self.die_at is not None:
            step = engine.step

            def dying():
                if core.steps >= self.die_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return step()

            engine.step = dying
        return engine
