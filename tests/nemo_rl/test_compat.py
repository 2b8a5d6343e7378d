"""Which NeMo-RL is there, told by files alone: this module needs no host."""

import sys

import pytest

from nemo_mixsd.errors import BackendError
from nemo_mixsd.nemo.compat import find_host, host_version, require_nemo_rl


def make_host(root, version=(0, 7, 0), checkpoint="def finalize_checkpoint", sft=""):
    package = root / "nemo_rl"
    for folder in ("algorithms", "utils"):
        (package / folder).mkdir(parents=True)
        (package / folder / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "algorithms" / "sft.py").write_text(sft)
    (package / "utils" / "checkpoint.py").write_text(checkpoint)
    names = zip(("MAJOR", "MINOR", "PATCH"), version, strict=True)
    (package / "package_info.py").write_text("".join(f"{name} = {value}\n" for name, value in names))
    return root


@pytest.fixture
def path(monkeypatch, tmp_path):
    """A path on which ``tmp_path`` is the only place to find a nemo_rl."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(p for p in sys.path if "NeMo-RL" not in p)])
    for name in [n for n in sys.modules if n == "nemo_rl" or n.startswith("nemo_rl.")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def test_release_is_found(path):
    make_host(path)
    host = find_host()
    assert (host.version, host.line, host.path) == ("0.7.0", "release", path / "nemo_rl")
    assert host_version() == "0.7.0"


def test_a_patch_release_is_supported(path):
    make_host(path, (0, 7, 3))
    assert find_host().version == "0.7.3"


def test_main_is_told_from_the_old_release_whose_number_it_carries(path):
    make_host(path, (0, 6, 0), checkpoint="class C:\n    def begin_finalization(self): ...")
    assert find_host().line == "main"
    assert host_version() == "0.6.0+main"


@pytest.mark.parametrize("version", [(0, 6, 0), (0, 5, 2), (0, 8, 0), (1, 0, 0)])
def test_other_releases_are_refused_with_the_way_out(path, version):
    make_host(path, version)
    with pytest.raises(BackendError, match=r"version {}\.{}\.{}; supported are v0\.7\.x and main".format(*version)):
        find_host()
    assert host_version() is None


def test_absent(path):
    with pytest.raises(BackendError, match="not installed here") as caught:
        require_nemo_rl()
    assert "https://github.com/NVIDIA-NeMo/RL" in str(caught.value)
    assert "backend=local" in str(caught.value)


def test_the_empty_placeholder_of_pypi(path):
    (path / "nemo_rl").mkdir()
    for file in ("__init__.py", "package_info.py"):
        (path / "nemo_rl" / file).write_text("MAJOR = 0\n")
    with pytest.raises(BackendError, match=r"empty placeholder.*pip uninstall nemo-rl"):
        find_host()


def test_a_host_without_its_dependencies_names_the_one_that_is_missing(path):
    make_host(path, sft="import surely_not_installed_zq")
    with pytest.raises(BackendError, match="'surely_not_installed_zq' is not installed"):
        require_nemo_rl()


def test_a_host_whose_dependencies_clash(path):
    make_host(path, sft="from json import surely_not_there")
    with pytest.raises(BackendError, match="do not fit together"):
        require_nemo_rl()
