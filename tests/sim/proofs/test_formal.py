"""Proofs: a property that holds, and the same with the logic that makes it hold taken out."""

import sys
from typing import Any

import pytest
from amaranth.hdl import Const, Signal

from dtqatten.hw.bus import access_crossing, arbiter
from dtqatten.sim.proofs.formal import prove
from dtqatten.sim.proofs.properties import PROPERTIES

BY_NAME = {wanted.name: wanted for wanted in PROPERTIES}


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(PROPERTIES)


@pytest.mark.parametrize(
    "name",
    [
        "read_window",
        "read_page",
        "write_window",
        "write_stable",
        "lite_counted",
        "heads_gone",
        "choice_told",
        "crossing_once",
        "crossing_answered",
        "crossing_settled",
        "crossing_reset",
        "crossing_interrupt",
    ],
)
def test_proved(name: str) -> None:
    assert prove(BY_NAME[name])


@pytest.mark.parametrize("name", ["crossing_once", "crossing_answered"])
def test_registers_that_the_machine_resets_lose_accesses(name, monkeypatch) -> None:
    """Its side of the handshake has to outlive its reset."""

    def resettable(*arguments: Any, **options: Any) -> Signal:
        return Signal(*arguments, **options | {"reset_less": False, "src_loc_at": 1})

    monkeypatch.setattr(access_crossing, "Signal", resettable)
    assert not prove(BY_NAME[name])


def test_without_an_answer_in_reset_an_access_is_repeated(monkeypatch) -> None:
    monkeypatch.setattr(access_crossing, "ResetSignal", lambda: Const(0))
    assert not prove(BY_NAME["crossing_once"])


@pytest.mark.parametrize("name", ["read_window", "write_window"])
def test_without_its_check_a_window_is_not_proved(name, monkeypatch) -> None:
    monkeypatch.setattr(arbiter, "contains", lambda window, page: Const(1))
    assert not prove(BY_NAME[name])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda window, page: (page >= window.base) & (page <= window.limit + 1),
        lambda window, page: (page + 1 >= window.base) & (page <= window.limit),
        lambda window, page: (page >= window.base) | (page <= window.limit),
    ],
    ids=["a page more", "a page before", "either end"],
)
def test_a_wrong_window_of_the_gateware_is_not_proved(wrong, monkeypatch) -> None:
    """The property states for itself what a window is."""
    for path, module in list(sys.modules.items()):
        if path.startswith("dtqatten.") and hasattr(module, "contains"):
            monkeypatch.setattr(module, "contains", wrong)
    assert not prove(BY_NAME["read_window"])
