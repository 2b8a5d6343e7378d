"""The Fisher file: averaged, resumed, merged from shards, refused when unfinished or damaged."""

import pytest
import torch
from safetensors.torch import load_file

from nemo_mixsd.analysis import fisher as module
from nemo_mixsd.analysis.fisher import (
    FisherSettings,
    batches,
    compute_fisher,
    journal_path,
    open_fisher,
    read_info,
    shard_path,
)
from nemo_mixsd.analysis.fisher_shards import compute_in_processes, merge_fisher
from nemo_mixsd.analysis.fisher_squares import SquaredGradients
from nemo_mixsd.analysis.nll import Scored
from nemo_mixsd.errors import AnalysisError, StorageError
from tests.tiny import make_model
from tests.unit.analysis.fisher_witness import one_at_a_time, scored


@pytest.fixture(scope="module")
def model():
    return make_model(tie_word_embeddings=True).double()


@pytest.fixture(scope="module")
def wanted(model):
    return one_at_a_time(model, scored(11))


def assert_is(path, wanted, relative=1e-6):
    found = load_file(path)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=relative, atol=1e-14, msg=name)


def test_mean_and_what_the_file_says(model, wanted, tmp_path):
    samples = scored(11)
    info = compute_fisher(model, samples, tmp_path / "f.safetensors", model_name="tiny")
    assert_is(tmp_path / "f.safetensors", wanted)
    assert (info.kind, info.samples, info.done, info.model) == ("mean", 11, 11, "tiny")
    assert info.tokens == sum(len(s.token_ids) for s in samples)
    assert read_info(tmp_path / "f.safetensors") == info
    assert [p.name for p in tmp_path.iterdir()] == ["f.safetensors"]


def test_a_float32_model_gives_float32(tmp_path):
    compute_fisher(make_model(), scored(3), tmp_path / "f.safetensors")
    assert {t.dtype for t in load_file(tmp_path / "f.safetensors").values()} == {torch.float32}


def test_a_finished_one_is_not_made_again(model, tmp_path):
    path = tmp_path / "f.safetensors"
    first = compute_fisher(model, scored(3), path)
    stamp = path.stat().st_mtime_ns
    assert compute_fisher(model, list(reversed(scored(3))), path) == first  # the order of the samples is nothing
    assert path.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("memory", ["device", "disk"])
def test_an_interrupted_one_goes_on(model, wanted, tmp_path, monkeypatch, memory):
    path = tmp_path / "f.safetensors"
    samples, add, seen = scored(11), SquaredGradients.add, []

    def dies(self, batch):
        if len(seen) >= 7:
            raise KeyboardInterrupt
        seen.extend(s.id for s in batch)
        return add(self, batch)

    monkeypatch.setattr(SquaredGradients, "add", dies)
    with pytest.raises(KeyboardInterrupt):
        compute_fisher(model, samples, path, FisherSettings(batch_size=1, save_every=2, memory=memory))
    assert not path.exists()
    assert read_info(journal_path(path)).done == 6
    with pytest.raises(AnalysisError, match="6 of 11 samples"):
        open_fisher(path)
    with pytest.raises(AnalysisError, match="holds sums of 6 of 11"):
        open_fisher(journal_path(path))

    rest = []
    monkeypatch.setattr(SquaredGradients, "add", lambda self, b: (rest.extend(s.id for s in b), add(self, b))[1])
    info = compute_fisher(model, samples, path, FisherSettings(batch_size=4, memory=memory))
    assert sorted([*seen[:6], *rest]) == sorted(s.id for s in samples)
    assert info.done == 11 and info.tokens == sum(len(s.token_ids) for s in samples)
    assert_is(path, wanted)
    assert [p.name for p in tmp_path.iterdir()] == ["f.safetensors"]


def test_other_samples_or_another_model_are_refused(model, tmp_path, monkeypatch):
    path = tmp_path / "f.safetensors"
    compute_fisher(model, scored(3), path, model_name="a")
    before = path.read_bytes()
    for samples, name in ((scored(4), "a"), (scored(3), "b")):
        with pytest.raises(AnalysisError, match="left as it is"):
            compute_fisher(model, samples, path, model_name=name)
    assert path.read_bytes() == before


@pytest.mark.parametrize("shards", [2, 3])
def test_shards_merge_to_the_whole(model, wanted, tmp_path, shards):
    path = tmp_path / "f.safetensors"
    for shard in range(shards):
        compute_fisher(model, scored(11), path, FisherSettings(shard=shard, shards=shards))
    parts = [shard_path(path, shard, shards) for shard in range(shards)]
    with pytest.raises(AnalysisError, match="no finished Fisher"):
        open_fisher(parts[0])
    with pytest.raises(AnalysisError, match="exactly once"):
        merge_fisher(parts[1:], path)
    with pytest.raises(AnalysisError, match="exactly once"):
        merge_fisher([*parts, parts[0]], path)
    assert not path.exists()
    info = merge_fisher(list(reversed(parts)), path)
    assert (info.done, info.kind) == (11, "mean")
    assert_is(path, wanted)
    with pytest.raises(AnalysisError, match="exists already"):
        merge_fisher(parts, path)
    alone = compute_fisher(model, scored(11), tmp_path / "g.safetensors")
    assert (alone.tokens, alone.key) == (info.tokens, info.key)
    assert alone.log_likelihood == pytest.approx(info.log_likelihood)


def test_shards_of_two_computations_are_refused(model, tmp_path):
    for shard, samples in enumerate((scored(4), scored(5))):
        compute_fisher(model, samples, tmp_path / "f", FisherSettings(shard=shard, shards=2))
    with pytest.raises(AnalysisError, match="another computation"):
        merge_fisher([tmp_path / "f.shard-0-of-2", tmp_path / "f.shard-1-of-2"], tmp_path / "f")


@pytest.mark.slow
def test_processes(tmp_path):
    make_model().save_pretrained(tmp_path / "model")
    path = tmp_path / "f.safetensors"
    info = compute_in_processes(str(tmp_path / "model"), "float32", scored(6), path, FisherSettings(), ["cpu", "cpu"])
    assert info.done == 6
    assert_is(path, {n: v.float() for n, v in one_at_a_time(make_model().double(), scored(6)).items()}, 1e-3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.safetensors", "model"]


@pytest.mark.parametrize("cut", [4, 200, -1])
def test_a_cut_off_file_is_refused(model, tmp_path, cut):
    path = tmp_path / "f.safetensors"
    compute_fisher(model, scored(2), path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(AnalysisError, match="cut off"):
        open_fisher(path)


def test_a_damaged_journal_is_named(model, tmp_path):
    path = tmp_path / "f.safetensors"
    journal_path(path).write_bytes(b"\x10\0\0")
    with pytest.raises(AnalysisError, match=r"f\.safetensors\.journal is cut off"):
        compute_fisher(model, scored(2), path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    make_model().save_pretrained(tmp_path)
    with pytest.raises(AnalysisError, match="no Fisher file"):
        open_fisher(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        ([], "at least one sample"),
        ([Scored("a", (), (2,))], "'a' has no prompt"),
        ([Scored("a", (2,), ())], "'a' has no prompt or no target"),
        ([Scored("long", (2,) * 250, (3,) * 10)], "'long' has 260 tokens"),
        ([Scored("a", (2,), (96,))], "token id 96"),
        ([Scored("a", (2,), (3,)), Scored("a", (2,), (4,))], "twice"),
    ],
)
def test_samples_that_do_not_fit_are_refused(model, tmp_path, samples, says):
    with pytest.raises(AnalysisError, match=says):
        compute_fisher(model, samples, tmp_path / "f.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_nan_weights_write_nothing(tmp_path):
    broken = make_model()
    with torch.no_grad():
        broken.lm_head.weight[5, 5] = float("nan")
    with pytest.raises(AnalysisError, match="NaN"):
        compute_fisher(broken, scored(3), tmp_path / "f.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named(model, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "nemo_mixsd.analysis.fisher_store.os.posix_fallocate",
        lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")),
    )
    with pytest.raises(StorageError, match="No space left"):
        compute_fisher(model, scored(3), tmp_path / "f.safetensors", FisherSettings(memory="disk"))
    assert list(tmp_path.iterdir()) == []


def test_batches_hold_both_limits():
    samples = sorted(scored(40), key=lambda s: -module._length(s))
    for size, tokens in ((1, 100), (5, 1000), (8, 30), (8, 1)):
        runs = list(batches(samples, size, tokens))
        assert [s for run in runs for s in run] == samples
        for run in runs:
            assert len(run) <= size
            assert len(run) == 1 or len(run) * max(map(module._length, run)) <= tokens
