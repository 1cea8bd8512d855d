"""Full adders: found in a library, bound, made gates again where they are too slow."""

from pathlib import Path

import pytest

from dtqatten.synth.adders import Adders, FullAdder, full_adder
from dtqatten.synth.asic import _quickened
from dtqatten.synth.cells import CellLibrary
from dtqatten.synth.design import Design
from dtqatten.synth.flow import ASIC, Flow
from dtqatten.synth.gates import PRIMITIVES, Gates
from dtqatten.synth.tools import SynthError, has_opensta
from small_cells import adder

#: Two bits of three registers each, added.
ADDED = """module added(input clk, rst, a, b, c, output reg s, o); reg x, y, z;
always @(posedge clk) begin x <= a; y <= b; z <= c; {o, s} <= x + y + z; end endmodule
"""
DESIGN = Design("added", "added", {"design.v": ADDED})
FLIP_FLOPS = 5 * 5.0
ADDER = FullAdder(6.0, "ADD", ("A", "B", "I"), "S", "O")

timed = pytest.mark.skipif(not has_opensta(), reason="OpenSTA is not installed")


@pytest.fixture
def with_adder(liberty: Path, tmp_path: Path):
    """Return a library with adders of some delay."""

    def make(*adders: str) -> Path:
        path = tmp_path / "with_adder.lib"
        path.write_text(liberty.read_text().rstrip().removesuffix("}") + "".join(adders) + "}\n")
        return path

    return make


def opened(path: Path, folder: Path) -> FullAdder | None:
    return CellLibrary.open([path], folder).adder


def test_a_library_without_an_adder(liberty: Path, tmp_path: Path) -> None:
    assert opened(liberty, tmp_path) is None
    assert full_adder({}) is None


def test_the_smallest_adder_is_found_by_what_it_does(with_adder, tmp_path: Path) -> None:
    """Not a subtractor, whose borrow is no carry, nor an adder of inverted outputs."""
    subtractor = adder("AAA", 1.0, 0.1).replace("(A & B) | (I & (A | B))", "(!A & (B | I)) | B & I")
    inverted = adder("BBB", 1.0, 0.1).replace("A ^ B ^ I", "!(A ^ B ^ I)")
    library = with_adder(subtractor, inverted, adder("ADD_X2", 8.0, 0.1), adder("ADD", 6.0, 0.1))
    assert opened(library, tmp_path) == ADDER


def test_none_is_bound_unless_asked_for(with_adder, liberty: Path, tmp_path: Path) -> None:
    library = with_adder(adder("ADD", 6.0, 0.1))
    plain = Flow(tmp_path / "plain", (liberty,)).run(ASIC, DESIGN)
    result = Flow(tmp_path / "unused", (library,)).run(ASIC, DESIGN)
    assert result["adders"] == {}
    assert result["area_um2"] == plain["area_um2"]


def test_a_library_without_an_adder_is_refused(liberty: Path, tmp_path: Path) -> None:
    with pytest.raises(SynthError, match=r"no cell of cells_0\.lib is a full adder: leave out"):
        Flow(tmp_path, (liberty,), full_adders=True).run(ASIC, DESIGN)


def test_an_adder_is_bound(with_adder, tmp_path: Path) -> None:
    result = Flow(tmp_path, (with_adder(adder("ADD", 6.0, 0.1)),), full_adders=True).run(
        ASIC, DESIGN
    )
    assert result["adders"] == {"added": 1}
    assert result["area_um2"] == FLIP_FLOPS + 6.0


@timed
def test_an_adder_that_misses_the_clock_becomes_gates(with_adder, tmp_path: Path) -> None:
    """It takes 0.9 ns of a clock of 1 ns, which gates of 0.05 ns meet."""
    result = Flow(tmp_path, (with_adder(adder("ADD", 6.0, 0.9)),), full_adders=True).run(
        ASIC, DESIGN
    )
    assert result["adders"] == {}
    assert result["slack_ns"] > 0
    assert result["area_um2"] > FLIP_FLOPS + 6.0
    # Some effort came before.
    assert result["efforts"] == {"added": 1}


PATHS = {
    "fast": [("top", "gate_1"), ("one", "adder_0"), ("one", "adder_1")],
    "other": [("two", "adder_0")],
    "none": [("two", "gate_1")],
}


@pytest.mark.parametrize(
    ("efforts", "slacks", "eager", "apart"),
    [
        # Effort before anything else, of what has had none; without adders of all there is.
        ((1, 0, 1), {"fast": -0.1}, {"one"}, {}),
        ((0, 1, 1), {"fast": -0.9}, {"top"}, {}),
        ((0, 1, 2), {"none": -0.1}, {"two"}, {}),
        # Then the path's adders, and nothing more; of one that meets the clock, too.
        ((1, 1, 1), {"fast": -0.1}, set(), {"one": {"adder_0", "adder_1"}}),
        ((0, 0, 0), {"fast": 0.02}, set(), {"one": {"adder_0", "adder_1"}}),
        # Far from the clock all adders of its modules, and effort.
        (
            (1, 2, 1),
            {"fast": -0.3},
            {"top", "one"},
            {"one": {"adder_0", "adder_1", "adder_2"}},
        ),
        # Without an adder, effort until there is no more.
        ((1, 1, 1), {"none": -0.1}, {"two"}, {}),
        ((1, 1, 3), {"none": -0.1}, set(), {}),
        ((1, 1, 0), {"none": 0.01}, set(), {}),
        # Each path for itself.
        (
            (1, 1, 2),
            {"none": -0.1, "other": -0.1},
            {"two"},
            {"two": {"adder_0"}},
        ),
    ],
)
def test_what_a_path_that_misses_the_clock_changes(
    efforts: tuple[int, int, int],
    slacks: dict[str, float],
    eager: set[str],
    apart: dict[str, set[str]],
) -> None:
    cells = {
        kind: {f"adder_{n}": {**module()["cells"]["adder_0"]} for n in range(count)}
        for kind, count in (("top", 0), ("one", 3), ("two", 1))
    }
    modules = {
        kind: {**module(sum=[5], carry=[6]), "cells": inside} for kind, inside in cells.items()
    }
    found = _quickened(
        [(slack, PATHS[name]) for name, slack in slacks.items()],
        dict(zip(("top", "one", "two"), efforts, strict=True)),
        Adders(ADDER, dict(modules), modules),
    )
    assert found == (eager, apart)


@timed
@pytest.mark.parametrize(("delay", "bound"), [(0.76, {"added": 1}), (0.78, {})])
def test_an_adder_leaves_some_of_the_clock(
    with_adder, tmp_path: Path, delay: float, bound: dict[str, int]
) -> None:
    """Registers and pins take 0.202 ns: with 0.76 ns 0.038 are left, with 0.78 ns 0.018."""
    result = Flow(tmp_path, (with_adder(adder("ADD", 6.0, delay)),), full_adders=True).run(
        ASIC, DESIGN
    )
    assert result["adders"] == bound
    assert result["slack_ns"] > 0.03


@timed
def test_a_slow_clock_leaves_it_the_time(with_adder, tmp_path: Path) -> None:
    library = with_adder(adder("ADD", 6.0, 2.0))
    result = Flow(tmp_path, (library,), mhz=400, full_adders=True).run(ASIC, DESIGN)
    assert result["adders"] == {"added": 1}
    assert result["slack_ns"] == pytest.approx(2.5 - 2.202, abs=0.01)


def bound(modules: dict[str, dict]) -> dict[str, int]:
    """Return how many adders are left in modules that had nothing before."""
    return Adders(ADDER, {kind: {"cells": {}} for kind in modules}, modules).bound()


def module(**outputs: list[int]) -> dict:
    """Return a module of one adder, whose outputs may be ports."""
    bits = {"a": [2], "b": [3], "c": [4]}
    ports = {name: {"direction": "input", "bits": bit} for name, bit in bits.items()}
    ports |= {name: {"direction": "output", "bits": bit} for name, bit in outputs.items()}
    return {
        "ports": ports,
        "netnames": {},
        "cells": {
            "adder_0": {
                "type": "ADD",
                "port_directions": {
                    **dict.fromkeys("ABI", "input"),
                    **dict.fromkeys("SO", "output"),
                },
                "connections": {"A": [2], "B": [3], "I": [4], "S": [5], "O": [6]},
            }
        },
    }


def test_its_gates_do_what_it_does() -> None:
    modules = {"top": module(sum=[5], carry=[6])}
    modules["top"]["cells"]["adder_1"] = {
        **modules["top"]["cells"]["adder_0"],
        "connections": {"A": [2], "B": [3], "I": [4], "S": [7], "O": [8]},
    }
    modules["top"]["ports"]["other"] = {"direction": "output", "bits": [7, 8]}
    adders = Adders(ADDER, dict(modules), modules)
    assert adders.bound() == {"top": 2}
    assert adders.has("top", "adder_0")
    adders.dissolve("top", ["adder_0"])
    assert adders.bound() == {"top": 1}
    assert not adders.has("top", "adder_0")
    del modules["top"]["cells"]["adder_1"]
    library = {
        kind: {
            "ports": {
                pin: {"direction": "output" if pin == "Y" else "input", "bits": [bit]}
                for bit, pin in enumerate("ABY", 2)
            },
            "cells": {"it": {"type": kind, "connections": {"A": [2], "B": [3], "Y": [4]}}},
        }
        for kind in PRIMITIVES
    }
    gates = Gates(modules["top"], library, 8)
    gates.clock({"a": [0b10101010], "b": [0b11001100], "c": [0b11110000]})
    for case in range(8):
        a, b, c = (case >> i & 1 for i in range(3))
        found = [gates.values[net] >> case & 1 for net in (5, 6)]
        assert found == [(a + b + c) % 2, (a + b + c) // 2]


@pytest.mark.parametrize("output", [{"sum": [5]}, {"carry": [6]}])
def test_half_of_an_adder_is_gates_at_once(output: dict[str, list[int]]) -> None:
    assert bound({"top": module(**output)}) == {}


def test_no_adder_leaves_all_as_it_is() -> None:
    modules = {"top": {"cells": {}}}
    assert Adders(None, modules, {}).bound() == {}
    assert modules == {"top": {"cells": {}}}


def test_without_any_left_a_module_is_what_it_was() -> None:
    """Gates of adders that are not full adders are not put together from such."""
    plain = {"top": {"cells": {"prefix": {"type": "$_AND_"}}}}
    modules, with_adder = dict(plain), {"top": module(sum=[5], carry=[6])}
    adders = Adders(ADDER, modules, with_adder)
    assert modules["top"] is with_adder["top"]
    adders.dissolve("top", ["adder_0"])
    assert modules == plain


def chain(length: int, *, inverters: bool) -> dict:
    """Return a module whose adders each add to the carry of the one before."""
    inputs, outputs, cells = [2], [], {}
    fresh, carry = 3, 2
    for n in range(length):
        a, b, s, o = range(fresh, fresh + 4)
        fresh += 4
        inputs += [a, b]
        pins = {"A": [a], "B": [b], "I": [carry], "S": [s], "O": [o]}
        cells[f"adder_{n}"] = module()["cells"]["adder_0"] | {"connections": pins}
        outputs.append(s)
        carry = o
        if inverters:
            carry, fresh = fresh, fresh + 1
            cells[f"not_{n}"] = {
                "type": "$_NOT_",
                "port_directions": {"A": "input", "Y": "output"},
                "connections": {"A": [o], "Y": [carry]},
            }
    ports = {
        "i": {"direction": "input", "bits": inputs},
        "o": {"direction": "output", "bits": [*outputs, carry]},
    }
    return {"ports": ports, "netnames": {}, "cells": cells}


@pytest.mark.parametrize("inverters", [False, True])
@pytest.mark.parametrize(("length", "left"), [(9, {"top": 9}), (10, {})])
def test_carries_that_ripple_far_are_no_chain_of_adders(
    length: int, left: dict[str, int], inverters: bool
) -> None:
    assert bound({"top": chain(length, inverters=inverters)}) == left
