"""Every NeMo-RL symbol that the plugin relies on, against the host on the path: the first to read after an upgrade."""

import pytest

from nemo_mixsd.nemo import contract
from nemo_mixsd.nemo.contract import CONTRACT, Symbol, check_contract


def test_the_host_fits():
    assert not check_contract(), "\n".join(["NeMo-RL has changed under the plugin:", *check_contract()])


def test_every_entry_says_what_it_is_for_and_is_there_once():
    assert len({symbol.name for symbol in CONTRACT}) == len(CONTRACT)
    assert all(symbol.why for symbol in CONTRACT)


@pytest.mark.parametrize(
    ("symbol", "message"),
    [
        (Symbol("nemo_rl.no_such_module:x", "read"), "module cannot be imported"),
        (Symbol("nemo_rl.algorithms.sft:no_such_name", "read"), "has no 'no_such_name'"),
        (Symbol("nemo_rl.algorithms.utils:set_seed", "call", ("seed", "device")), "no parameter 'device'"),
        (Symbol("nemo_rl.algorithms.utils:set_seed", "call"), "new required parameter 'seed'"),
        (
            Symbol("nemo_rl.environments.interfaces:EnvironmentInterface", "subclass", ("step",)),
            "abstract method 'global_post_process_and_metrics' is not implemented",
        ),
    ],
)
def test_a_broken_entry_is_named(monkeypatch, symbol, message):
    monkeypatch.setattr(contract, "CONTRACT", (symbol,))
    (line,) = check_contract()
    assert line.startswith(symbol.name)
    assert message in line
