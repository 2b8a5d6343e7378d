"""KGFunc: digit operations under opaque labels, to be inferred from solved inputs."""

from nemo_mixsd.corpora.kgfunc.compositions import compose
from nemo_mixsd.corpora.kgfunc.config import KGFuncConfig
from nemo_mixsd.corpora.kgfunc.corpus import KGFuncCorpus
from nemo_mixsd.corpora.kgfunc.operation import MAX_INPUT, Operation
from nemo_mixsd.corpora.kgfunc.trained import DEFAULT_LABELS, OPERATIONS
from nemo_mixsd.corpora.kgfunc.unseen import UNSEEN_OPERATIONS

__all__ = [
    "DEFAULT_LABELS",
    "MAX_INPUT",
    "OPERATIONS",
    "UNSEEN_OPERATIONS",
    "KGFuncConfig",
    "KGFuncCorpus",
    "Operation",
    "compose",
]
