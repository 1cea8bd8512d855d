"""Proofs: a property that holds, and the same with the logic that makes it hold taken out."""

import pytest
from amaranth.hdl import Const

from dtqatten.hw import arbiter
from dtqatten.sim.formal import prove
from dtqatten.sim.properties import PROPERTIES

BY_NAME = {wanted.name: wanted for wanted in PROPERTIES}


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(PROPERTIES)


@pytest.mark.parametrize(
    "name", ["read_window", "read_page", "write_window", "write_stable", "lite_counted"]
)
def test_proved(name: str) -> None:
    assert prove(BY_NAME[name])


@pytest.mark.parametrize("name", ["read_window", "write_window"])
def test_without_its_check_a_window_is_not_proved(name, monkeypatch) -> None:
    monkeypatch.setattr(arbiter, "contains", lambda window, page: Const(1))
    assert not prove(BY_NAME[name])
