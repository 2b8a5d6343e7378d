"""Shared fixtures: a tiny random model and a small tokenizer with a chat template, both built in code."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from tqdm.std import TqdmDefaultWriteLock

from tests.tiny import make_model, make_tokenizer

torch.set_num_threads(1)  # the models are tiny: a second thread only adds waiting

# Forked children share the lock of progress bars; one killed while it holds it would leave the next waiting for ever.
TqdmDefaultWriteLock.mp_lock = None


@pytest.fixture(scope="session")
def tiny_model():
    return make_model()


@pytest.fixture(scope="session")
def tiny_tokenizer():
    return make_tokenizer()


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny-model")
    make_model().save_pretrained(path)
    make_tokenizer().save_pretrained(path)
    return path
