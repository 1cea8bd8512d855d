"""Estimates: by hand where that is possible, and honest about what is not known."""

import json

import pytest

import dtqatten
from dtqatten import PRESETS, Shape
from dtqatten.algorithm.packaged import packaged_policy
from dtqatten.algorithm.policy import Policy
from dtqatten.api.estimate import Quantity
from dtqatten.model.compare import SEARCHED
from dtqatten.model.measured import Measured, measured, text_of

ONE = Shape(layers=1, heads=1, d_head=32)


def test_cycles_and_bytes_add_up() -> None:
    """Layers and heads follow one another; bytes are of the kept tokens, K and V shared."""
    one = dtqatten.estimate(ONE, "tiny", tokens=32)
    many = dtqatten.estimate(Shape(layers=3, heads=4, d_head=32), "tiny", tokens=32)
    assert many.cycles.value == 12 * one.cycles.value
    assert many.bytes.value == 12 * one.bytes.value
    # 23 of 32 tokens are kept, 10 of them in 8 bits: 13 * 16 + 10 * 32 bytes each of Q, K and V.
    assert one.bytes.value == 3 * (13 * 16 + 10 * 32) + 23 * 32
    shared = dtqatten.estimate(Shape(layers=1, heads=4, kv_heads=1, d_head=32), "tiny", tokens=32)
    assert shared.bytes.value == 4 * (528 + 23 * 32) + 2 * 528
    assert many.layers == [4 * one.cycles.value] * 3


def test_what_is_not_measured_is_not_made_up() -> None:
    found = dtqatten.estimate(ONE, "tiny", tokens=8)
    assert (found.mm2.value, found.mm2.origin) == (None, "not measured")
    assert (found.joules.value, found.joules.origin) == (None, "not measured")
    assert found.clock.origin == "assumed"
    assert "not measured" in str(found)
    slow = dtqatten.estimate(ONE, "tiny", tokens=8, clock_mhz=50.0)
    assert slow.seconds.value == pytest.approx(slow.cycles.value / 50e6)


def test_base_has_measured_figures() -> None:
    found = dtqatten.estimate("bert-base", "base", tokens=64)
    known = measured()["base"]
    assert found.mm2.value == known.mm2
    assert (found.mm2.origin == "measured") == (not known.before)
    assert known.before in found.mm2.says
    assert found.clock.value == min(1000.0, known.fmax_mhz)
    # Another machine than the preset has no measured area.
    other = PRESETS["base"].replace(rows=4)
    assert dtqatten.estimate("bert-base", other, tokens=64).mm2.value is None


def test_energy_is_the_sum_of_its_parts() -> None:
    """By hand from the coefficients, which come from synthesis."""
    known = measured()["base"]
    assert known.power is not None
    found = dtqatten.estimate(Shape(layers=1, heads=1, d_head=64), "base", tokens=64)
    cycles = found.cycles.value
    assert cycles is not None
    always = sum(known.power.cycle_pj.values()) * cycles * 1e-12
    most = always + sum(known.power.busy_pj.values()) * cycles * 1e-12
    dram = found.bytes.value * 8 * 20e-12
    assert always + dram < found.joules.value < most + dram


def test_a_policy_has_layers_of_its_own() -> None:
    policy = packaged_policy(SEARCHED)
    shape = Shape(layers=len(policy.layers), heads=1, d_head=32)
    found = dtqatten.estimate(shape, "tiny", tokens=32, policy=policy)
    assert len(set(found.layers)) > 1
    with pytest.raises(ValueError, match="the policy is of 6 layers, the model has 1"):
        dtqatten.estimate(ONE, "tiny", tokens=32, policy=policy)
    assert isinstance(policy, Policy)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tokens": 0}, "n is 0"),
        ({"clock_mhz": 0.0}, "give a rate above 0"),
        ({"shares": (0.5, 0.1, 0.1)}, "sum 1"),
    ],
)
def test_bad_numbers_are_refused(given, says) -> None:
    with pytest.raises(ValueError, match=says):
        dtqatten.estimate(ONE, "tiny", **given)


def test_measured_file_reads_back() -> None:
    found = measured()
    assert {name: Measured(**{**vars(one)}) for name, one in found.items()} == found
    assert set(json.loads(text_of(found))) == set(found) <= set(PRESETS)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (822528, "", "822,528"),
        (0.0008225, "s", "822.5 us"),
        (1.5, "s", "1.5 s"),
        (0.004841, "J", "4.841 mJ"),
        (7.99e6, "bytes", "7.99 MB"),
        (12, "bytes", "12 B"),
        (0.0, "J", "0 nJ"),
        (3.032, "mm2", "3.032 mm2"),
        (124.9, "MHz", "124.9 MHz"),
        (None, "J", "-"),
    ],
)
def test_numbers_read_as_people_write_them(value, unit, text) -> None:
    """No powers of ten: a count in full, a unit with a prefix."""
    assert Quantity(value, unit, "assumed", "").text == text
