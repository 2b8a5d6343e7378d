"""Comparing targets of two ways of decoding; a difference is only accepted at a tie of the logits, and is shown."""

import torch

from nemo_mixsd.mixing.coins import coins
from nemo_mixsd.mixing.engines.base import SegmentRequest
from nemo_mixsd.mixing.mixer import Mixer, MixerSettings

TIE = 1e-4


class AcceptAll:
    name = "contains"

    def verify(self, text, answers):
        return True

    def explain(self, text, answers):
        return ""

    def canonical(self, answer):
        return answer


def setup(rate, max_new_tokens=16, in_flight=32, max_retries=0, **changes):
    return MixerSettings(
        name=f"mixsd@{rate}", rate=rate, seed=7, max_retries=max_retries, max_new_tokens=max_new_tokens,
        max_total_tokens=1024, accept_truncated=True, max_in_flight=in_flight, **changes,
    )  # fmt: skip


def mix(engine, requests, settings):
    outcomes = Mixer(engine, AcceptAll(), lambda ids: "", settings).run(requests)
    return {outcome.example_id: outcome.token_ids for outcome in outcomes}


def loop(engine, requests, settings, stop):
    """Eq. 4 word for word: one request a token, all examples in lockstep."""
    out = {r.example_id: [] for r in requests}
    flips = {
        r.example_id: coins(settings.seed, r.example_id, 1, settings.max_new_tokens, settings.rate) for r in requests
    }
    for position in range(settings.max_new_tokens):
        for r in requests:
            ids = out[r.example_id]
            if not ids or ids[-1] not in stop:
                prompt = r.naive_ids if flips[r.example_id][position] else r.expert_ids
                engine.submit(SegmentRequest(r.example_id, r.example_id, (*prompt, *ids), 1, r.example_id, 1, position))
        while results := engine.poll():
            for result in results:
                out[result.key].extend(result.token_ids)
    return {key: tuple(ids) for key, ids in out.items()}


@torch.inference_mode()
def assert_equal_but_for_ties(model, requests, settings, one, other):
    """Every difference must start where the two tokens' logits are closer than 1e-4; each is printed."""
    assert one.keys() == other.keys() == {r.example_id for r in requests}
    tokens = sum(map(len, one.values()))
    for r in requests:
        a, b = one[r.example_id], other[r.example_id]
        if a == b:
            continue
        position = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        assert position < min(len(a), len(b)), f"{r.example_id}: one target is a part of the other"
        naive = coins(settings.seed, r.example_id, 1, position + 1, settings.rate)[position]
        ids = (*(r.naive_ids if naive else r.expert_ids), *a[:position])
        logits = model(torch.tensor([ids])).logits[0, -1]
        gap = abs(float(logits[a[position]] - logits[b[position]]))
        print(f"{r.example_id} differs at position {position}: {a[position]} or {b[position]}, logit gap {gap:.1e}")
        assert gap < TIE, f"{r.example_id} at {position}: {a[position]} and {b[position]} are {gap:.1e} apart"
    print(f"rate {settings.rate}: {len(requests)} examples, {tokens} tokens compared")
