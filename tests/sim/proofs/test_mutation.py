"""Mutation testing: mutants are made, killed and proved; the block itself passes."""

from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.sim.proofs.mutation import Block, Mutants, measure
from dtqatten.sim.proofs.mutation_blocks import BLOCKS
from dtqatten.sim.proofs.recording import Play

MUTANTS = 40


class Counter(wiring.Component):
    """Counts ``i`` and shows the count, and twice the count while it is even."""

    i: In(1)
    count: Out(3)
    twice: Out(4)
    even: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.count.eq(self.count + self.i)
        m.d.comb += [self.even.eq(~self.count[0]), self.twice.eq(self.count << 1)]
        return m


class CounterBench:
    """Counts in every cycle whose number is no multiple of 3."""

    deadline = 100

    def __init__(self, cycles: int = 30, *, wrong: int = 0) -> None:
        self.cycles, self.wrong = cycles, wrong
        self.cycle = self.count = 0

    @property
    def done(self) -> bool:
        return self.cycle == self.cycles

    def inputs(self) -> dict[str, int]:
        return {"i": int(self.cycle % 3 > 0)}

    def expected(self) -> dict[str, int]:
        even = int(self.count % 2 == 0)
        ports = {"count": (self.count + self.wrong) % 8, "even": even}
        return ports | ({"twice": 2 * self.count} if even else {})

    def check(self, ports) -> None:
        raise NotImplementedError

    def clock(self) -> None:
        self.count = (self.count + self.inputs()["i"]) % 8
        self.cycle += 1


def block(**options) -> Block:
    return Block(
        Counter, lambda: [Play(CounterBench(7)), Play(CounterBench(**options))], {"twice": "even"}
    )


def test_mutants_are_killed_proved_or_left() -> None:
    outcome = measure("counter", block(), count=MUTANTS)
    assert outcome.cycles == 39  # with the two resets
    assert len(outcome.killed) + len(outcome.survived) + len(outcome.equivalent) == MUTANTS
    assert not outcome.survived
    assert outcome.score == 1
    # The lowest bit but one of the double is 0 whenever it matters.
    assert outcome.equivalent
    assert all(mutant.port != "CLK" for mutant in outcome.killed)
    assert any("test_mutation.py:" in str(mutant) for mutant in outcome.killed)


def test_too_short_a_test_leaves_survivors() -> None:
    outcome = measure("counter", Block(Counter, lambda: [Play(CounterBench(3))]), count=MUTANTS)
    assert len(outcome.survived) > 5
    assert outcome.score < 0.9


def test_a_block_that_differs_from_its_model_is_refused() -> None:
    with pytest.raises(AssertionError, match="counter without a mutation fails in cycle 9"):
        measure("counter", block(wrong=1), count=3)


def test_a_model_that_does_not_end_is_reported() -> None:
    bench = CounterBench(1000)
    with pytest.raises(RuntimeError, match="the model has not finished after 101 cycles"):
        measure("counter", Block(Counter, lambda: [Play(bench)]), count=3)


def test_mutants_are_the_same_each_time_and_differ_by_seed(tmp_path: Path) -> None:
    made = []
    for seed in (0, 0, 1):
        directory = tmp_path / str(len(made))
        directory.mkdir()
        made.append(Mutants(block(), "counter", 20, seed, directory).mutants)
    assert made[0] == made[1] != made[2]


def test_too_many_mutants_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"65536 mutants, outside 1\.\.65535"):
        Mutants(block(), "counter", 65536, 0, tmp_path)


def test_pe() -> None:
    """The smallest of the real blocks."""
    outcome = measure("pe", BLOCKS["pe"], count=30)
    assert len(outcome.killed) > 20
    assert not outcome.survived
