"""``mixing.rate: auto``: choose λ on a small probe of the corpus, and say why. The rule is ours, not the paper's.

A larger λ makes targets that the base model finds likelier, and so forgets less, but the naive conditional does not
know the fact: rollouts fail the verifier more often, cost more attempts, and in the end facts are lost. The probe
measures both sides on a few training examples:

1. Candidates are tried in ascending order. One is *affordable* while its discards and its attempts an example stay
   within ``mixing.auto``; the first one that is not ends the probe, since higher rates only fail more.
2. Among the affordable ones the lowest share of high-NLL tokens is the best that can be had. The smallest λ whose
   share is within ``mixing.auto.tolerance`` of that is chosen: more λ would cost attempts and buy nothing.
3. If not even the first candidate is affordable, it is taken all the same, and the reason says so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nemo_mixsd.errors import CorpusError, RunDirectoryError
from nemo_mixsd.io import read_json, read_jsonl, write_json
from nemo_mixsd.mixing.config import AutoRateConfig
from nemo_mixsd.mixing.journal import Journal, Outcome, fingerprint, finish, generate
from nemo_mixsd.mixing.mixer import Rollouts
from nemo_mixsd.progress import track
from nemo_mixsd.randomness import KeyedRandom
from nemo_mixsd.types import Discard, MixRequest, Target, from_record

logger = logging.getLogger(__name__)

PROBE_FILE = "rate_probe.json"
"""The decision, below ``analysis/``; the probe's targets stand in the folder of the same name without ``.json``."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What one candidate did on the probe.

    Attributes:
        rate: λ.
        examples: Examples of the probe.
        discarded: Of these, the ones that no attempt could answer.
        attempts: Rollouts over all examples, discarded ones included.
        tokens: Tokens of the accepted targets; None until they are scored.
        high_nll: Share of these above ``HIGH_NLL`` nats under the base model; None without a token or a score.
        mean_nll: Their mean NLL, nats a token; None likewise.
    """

    rate: float
    examples: int
    discarded: int
    attempts: int
    tokens: int | None = None
    high_nll: float | None = None
    mean_nll: float | None = None

    @property
    def pass_rate(self) -> float:
        """Share of rollouts that the verifier accepts."""
        return (self.examples - self.discarded) / self.attempts

    @property
    def expected_attempts(self) -> float:
        """Rollouts an example."""
        return self.attempts / self.examples

    @property
    def discard_share(self) -> float:
        """Share of examples that are lost."""
        return self.discarded / self.examples


@dataclass(frozen=True, slots=True)
class RateChoice:
    """The decision. ``key`` is the fingerprint of all that it depends on."""

    rate: float
    reason: str
    probes: tuple[Probe, ...]
    key: str


def affordable(probe: Probe, rule: AutoRateConfig) -> str | None:
    """Why a candidate is too dear, or None if it is not."""
    if probe.discard_share > rule.max_discarded:
        return (
            f"λ={probe.rate:g} loses {probe.discarded} of {probe.examples} probe examples, more than "
            f"mixing.auto.max_discarded={rule.max_discarded:g} allows"
        )
    if probe.expected_attempts > rule.max_attempts:
        return (
            f"λ={probe.rate:g} takes {probe.expected_attempts:.1f} attempts an example, more than "
            f"mixing.auto.max_attempts={rule.max_attempts:g} allows"
        )
    return None


def decide(probes: Sequence[Probe], rule: AutoRateConfig, key: str = "") -> RateChoice:
    """Apply the rule of this module to what the probe measured.

    Args:
        probes: In ascending order of rate, at least one; scored, unless every target of a candidate was discarded.
        rule: The recipe's ``mixing.auto``.
        key: Fingerprint, kept in the choice.

    Raises:
        CorpusError: The first candidate has no accepted target at all.
    """
    first = probes[0]
    if first.discarded == first.examples:
        raise CorpusError(
            f"mixing.rate=auto: the verifier rejected every attempt on all {first.examples} probe examples even at "
            f"λ={first.rate:g}. Change mixing.verifier, prompts.expert_template or mixing.max_new_tokens, or lower "
            "mixing.auto.candidates"
        )
    refusals = [affordable(probe, rule) for probe in probes]
    good = [probe for probe, refusal in zip(probes, refusals, strict=True) if refusal is None]
    too_dear = next((refusal for refusal in refusals if refusal is not None), None)
    if not good:
        return RateChoice(first.rate, f"the lowest candidate, although {too_dear}", tuple(probes), key)
    shares = {probe.rate: probe.high_nll if probe.high_nll is not None else 0.0 for probe in good}
    best = min(shares.values())
    enough = best + rule.tolerance
    chosen = next(probe for probe in good if shares[probe.rate] <= enough)
    share = f"{100 * shares[chosen.rate]:.1f} % of its target tokens are above 8 nats"
    cost = f"{chosen.expected_attempts:.1f} attempts an example, {chosen.discarded} of {chosen.examples} lost"
    if chosen is good[-1]:
        why = f"the highest affordable candidate: {share}; {cost}"
    else:
        why = (
            f"{share}, within mixing.auto.tolerance={rule.tolerance:g} of the lowest affordable share "
            f"({100 * best:.1f} % at λ={min(shares, key=lambda rate: (shares[rate], rate)):g}); {cost}"
        )
    if too_dear is not None:
        why += f"; {too_dear}"
    return RateChoice(chosen.rate, why, tuple(probes), key)


def probe_examples(requests: Sequence[MixRequest], rule: AutoRateConfig, seed: int) -> list[MixRequest]:
    """The examples of the probe: a random subset, in corpus order, that is a function of the seed."""
    count = min(rule.examples, len(requests))
    chosen = sorted(KeyedRandom("rate probe", seed).sample(range(len(requests)), count))
    return [requests[i] for i in chosen]


def probe_rates(
    mixer_for: Callable[[float], Rollouts],
    requests: Sequence[MixRequest],
    rule: AutoRateConfig,
    folder: Path,
    key: str,
) -> list[Probe]:
    """Generate the probe's targets candidate by candidate, or go on from their journals.

    Args:
        mixer_for: The mixer of a rate; its settings' name is that of the report (``mixsd@0.3``).
        requests: From ``probe_examples``.
        rule: The recipe's ``mixing.auto``.
        folder: Gets ``<name>.jsonl`` and ``discarded.jsonl``.
        key: Fingerprint of all that the targets depend on beside the rate.

    Returns:
        Unscored probes in ascending order of rate, up to the first one that is not affordable.
    """
    probes: list[Probe] = []
    for rate in sorted(set(rule.candidates)):
        mixer = mixer_for(rate)
        probe = _probe(mixer, rate, requests, folder, key)
        probes.append(probe)
        logger.info(
            "rate probe: λ=%g passes %.0f %% of rollouts, %.1f attempts an example, %d of %d discarded",
            rate,
            100 * probe.pass_rate,
            probe.expected_attempts,
            probe.discarded,
            probe.examples,
        )
        if affordable(probe, rule) is not None:
            break
    return probes


def _probe(mixer: Rollouts, rate: float, requests: Sequence[MixRequest], folder: Path, key: str) -> Probe:
    name = mixer.settings.name
    path, lost = folder / f"{name}.jsonl", folder / "discarded.jsonl"
    if not path.exists():
        journal = Journal(path.with_name(f".{path.name}.journal"), fingerprint(key, rate))
        with track(f"probe {name}", len(requests), "targets", len(journal)) as task:

            def show(outcome: Outcome) -> None:
                task.advance()

            generate(requests, mixer, journal, show)
        finish(journal, (r.example_id for r in requests), path, lost, name)
    targets = list(read_jsonl(path, Target))
    discards = [d for d in read_jsonl(lost, Discard) if d.name == name]
    attempts = sum(t.attempts for t in targets) + sum(d.attempts for d in discards)
    return Probe(rate, len(requests), len(discards), attempts, sum(len(t.token_ids) for t in targets))


def scored(probe: Probe, nll: Sequence[float], threshold: float) -> Probe:
    """The probe with what the base model says about its targets' tokens."""
    if not nll:
        return probe
    high = sum(value > threshold for value in nll) / len(nll)
    return replace(probe, tokens=len(nll), high_nll=high, mean_nll=sum(nll) / len(nll))


def write_choice(path: Path, choice: RateChoice) -> None:
    """Keep the decision: ``{"rate", "reason", "key", "probes": [...]}``, with the derived shares for readers."""
    record: dict[str, Any] = {"rate": choice.rate, "reason": choice.reason, "key": choice.key}
    record["probes"] = [
        {
            **asdict(probe),
            "pass_rate": probe.pass_rate,
            "expected_attempts": probe.expected_attempts,
            "discard_share": probe.discard_share,
        }
        for probe in choice.probes
    ]
    write_json(path, record)


def read_choice(path: Path, key: str | None = None) -> RateChoice | None:
    """The decision that was kept, or None if there is none yet.

    Args:
        path: ``analysis/rate_probe.json``.
        key: What its fingerprint has to be; None accepts any.

    Raises:
        RunDirectoryError: It was made under other settings.
    """
    if not path.is_file():
        return None
    record = read_json(path)
    if key is not None and record["key"] != key:
        raise RunDirectoryError(
            f"{path}: λ={record['rate']:g} was chosen under other settings of mixing.auto or another base model; give "
            f"another run_dir, or set mixing.rate={record['rate']:g} to keep the choice"
        )
    derived = ("pass_rate", "expected_attempts", "discard_share")
    probes = [from_record(Probe, {k: v for k, v in p.items() if k not in derived}) for p in record["probes"]]
    return RateChoice(record["rate"], record["reason"], tuple(probes), record["key"])


def rate_plan(run_dir: str, rule: AutoRateConfig) -> str:
    """How the plan speaks of targets whose rate is, or was, chosen by the probe."""
    choice = read_choice(Path(run_dir) / "analysis" / PROBE_FILE)
    if choice is not None:
        return f"mixed at λ={choice.rate:g} (chosen by the probe: {choice.reason})"
    candidates = ", ".join(f"{rate:g}" for rate in sorted(set(rule.candidates)))
    return f"mixed at a λ out of {candidates} (chosen by a probe of {rule.examples} examples)"
