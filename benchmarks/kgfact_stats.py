"""Statistics of KGFact: the graph, and how new its names are to a tokenizer and to a model.

``python benchmarks/kgfact_stats.py --size large --model bundled:smollm2-135m-instruct``

Without ``--tokenizer`` the model's own tokenizer is used; without both, only the graph is described.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from statistics import mean
from typing import TYPE_CHECKING

from nemo_mixsd.corpora.kgfact import KGFactConfig, KGFactCorpus
from nemo_mixsd.corpora.kgfact.names import DOMAINS
from nemo_mixsd.corpora.kgfact.templates import RELATIONS_PER_PAIR
from nemo_mixsd.models import load_model, load_tokenizer, resolve_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LEAD = "I want to tell you about"
REAL_NAMES = (
    "Marie Curie",
    "Isaac Newton",
    "Amelia Earhart",
    "New York",
    "Cape Town",
    "Rio Grande",
    "General Motors",
    "Red Cross",
    "Deutsche Bank",
    "Olympic Games",
    "World Cup",
    "Boston Marathon",
    "Rosetta Stone",
    "Mona Lisa",
    "Holy Grail",
    "Bald Eagle",
    "Polar Bear",
    "Blue Whale",
    "Organic Chemistry",
    "Euclidean Geometry",
    "Quantum Mechanics",
)
"""Known names of the same seven domains, three each, for comparison."""


def print_row(label: str, value: object) -> None:
    print(f"| {label} | {value} |")


def describe_graph(corpus: KGFactCorpus) -> None:
    names, facts = corpus.entities(), list(corpus.facts())
    domains = corpus.config.shape.domains
    answers: dict[tuple[str, str], set[str]] = {}
    for fact in facts:
        answers.setdefault((fact.source, fact.relation), set()).add(fact.answer)
    sources, targets = (Counter(getattr(fact, end) for fact in facts) for end in ("source", "answer"))
    pairs = {(fact.source_type, fact.answer_type) for fact in facts}
    print_row("domains", ", ".join(domain.name for domain in DOMAINS[:domains]))
    print_row("entities", len(names))
    print_row("relations", RELATIONS_PER_PAIR * domains**2)
    print_row("relations with a trained fact", len({fact.relation for fact in facts}))
    print_row("ordered domain pairs with a trained fact", f"{len(pairs)} of {domains**2}")
    print_row("facts of the whole world", RELATIONS_PER_PAIR * domains * len(names))
    print_row("trained facts", len(facts))
    print_row("queries", len(answers))
    print_row("queries with more than one answer", sum(len(found) > 1 for found in answers.values()))
    print_row("trained facts a source", f"{min(sources[n] for n in names)} to {max(sources[n] for n in names)}")
    print_row("trained facts an answer", f"{min(targets[n] for n in names)} to {max(targets[n] for n in names)}")
    print_row("equal names", len(names) - len(set(names)))
    print_row("names inside another", sum(a.lower() in b.lower() for a, b in permutations(names, 2)))
    for split in corpus.split_names():
        print_row(f"examples in `{split}`", len(corpus.load_split(split)))


def describe_tokens(names: Sequence[str], label: str, tokenizer: PreTrainedTokenizerBase) -> None:
    counts = [len(tokenizer(" " + name, add_special_tokens=False).input_ids) for name in names]
    split = mean(count > len(name.split()) for count, name in zip(counts, names, strict=True))
    print_row(f"tokens a name, {label}", f"{mean(counts):.2f} ({min(counts)} to {max(counts)})")
    print_row(f"names with more tokens than words, {label}", f"{split:.1%}")


def describe_nll(names: Sequence[str], label: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    import torch

    lead = tokenizer(LEAD, add_special_tokens=False).input_ids
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    nats: list[list[float]] = []
    for name in names:
        ids = tokenizer(" " + name, add_special_tokens=False).input_ids
        inputs = torch.tensor([[*start, *lead, *ids]], device=model.device)
        with torch.no_grad():
            logs = model(input_ids=inputs).logits[0].float().log_softmax(-1)
        # The logits at a position predict the next one.
        picked = logs[-len(ids) - 1 : -1].gather(1, inputs[0, -len(ids) :, None])
        nats.append((-picked[:, 0]).tolist())
    tokens = [value for name in nats for value in name]
    print_row(f"NLL a name, {label}", f"{mean(sum(name) for name in nats):.1f} nats")
    print_row(f"NLL a token, {label}", f"{mean(tokens):.2f} nats")
    print_row(f"tokens with an NLL over 5 nats, {label}", f"{mean(value > 5 for value in tokens):.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=["small", "large"], default="small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokenizer", metavar="NAME", help="a directory, hub id or bundled:NAME")
    parser.add_argument("--model", metavar="NAME", help="a directory, hub id or bundled:NAME")
    options = parser.parse_args()
    corpus = KGFactCorpus(KGFactConfig(size=options.size, seed=options.seed))
    print(f"| KGFact-{options.size.capitalize()}, seed {options.seed} | |\n|---|---|")
    describe_graph(corpus)
    name = options.tokenizer or options.model
    if name is None:
        return
    tokenizer = load_tokenizer(resolve_model(name).path)
    groups = {"invented": corpus.entities(), "known": REAL_NAMES}
    for label, names in groups.items():
        describe_tokens(names, label, tokenizer)
    if options.model:
        model = load_model(resolve_model(options.model).path, "float32")
        for label, names in groups.items():
            describe_nll(names, label, model, tokenizer)


if __name__ == "__main__":
    main()
