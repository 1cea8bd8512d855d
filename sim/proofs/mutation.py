"""Mutation testing: how many wrong netlists of a block its lockstep comparison notices."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import amaranth
from amaranth.lib import wiring

from dtqatten import hw
from dtqatten.files.errors import UsageError
from dtqatten.files.scratch import scratch
from dtqatten.hw.base.export import PREFIX, netlist
from dtqatten.sim.engines.verilated import Port, VerilatedModel
from dtqatten.sim.proofs.equivalence import Prover
from dtqatten.sim.proofs.recording import Play, Recording, record
from dtqatten.sim.proofs.yosys import run_yosys

__all__ = ["Block", "Mutant", "Mutants", "Outcome", "measure"]

#: Input that selects a mutant; 0 is the block as it is.
CONTROL = Port("mutant", 16, True)

#: Not mutated: clocks, which are no logic of the block, and resets of memories' read registers,
#: which no memory of a block uses and Verilog cannot say.
SPARED = ("clk", "CLK", "RD_CLK", "WR_CLK", "RD_ARST", "RD_SRST")

# As for the Verilog that is exported; memories are cells of their own.
PREPARE = """
read_rtlil block.il
hierarchy -top {top}
proc
opt_expr
opt_dff
opt_clean -purge
memory_collect
write_rtlil clean.il
mutate -list {count} -seed {seed} -o mutants.txt
"""

APPLY = """
read_rtlil clean.il
{mutations}
write_rtlil mutants.il
write_verilog -noattr -noparallelcase mutants.v
"""


@dataclass(frozen=True)
class Block:
    """A block and the tests that its mutants have to pass.

    Parameters
    ----------
    build : callable
        Returns the component.
    plays : callable
        Returns the benches that it is compared with, one after the other.
    gates : mapping of str to str
        Outputs that matter only while another one is set, beside the payloads of streams.
    """

    build: Callable[[], wiring.Component]
    plays: Callable[[], Iterable[Play]]
    gates: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Mutant:
    """One change of the netlist.

    Attributes
    ----------
    number : int
        From 1 on.
    mode : str
        ``inv``, ``const0``, ``const1``, or exclusive or with another bit of the same port
        (``cnot1``) or its inverse (``cnot0``).
    module, cell, port : str
    bit, other_bit : int
        Of the port; ``other_bit`` is -1 for the first three modes.
    wire : str
        Name of the bit, if it has one.
    sources : tuple of str
        Lines of Python that the cell comes from.
    """

    number: int
    mode: str
    module: str
    cell: str
    port: str
    bit: int
    other_bit: int
    wire: str
    sources: tuple[str, ...]

    @property
    def command(self) -> str:
        """The pass of Yosys that makes it."""
        other = f" -ctrlbit {self.other_bit}" if self.other_bit >= 0 else ""
        return (
            f"mutate -ctrl {CONTROL.name} {CONTROL.width} {self.number} -mode {self.mode} "
            f"-module {self.module} -cell {self.cell} -port {self.port} -portbit {self.bit}{other}"
        )

    def __str__(self) -> str:
        other = f" by bit {self.other_bit}" if self.other_bit >= 0 else ""
        wire = f" ({self.wire})" if self.wire else ""
        return (
            f"{self.mode} {self.module} {self.cell}.{self.port}[{self.bit}]{other}{wire} "
            f"{' '.join(self.sources)}"
        ).strip()


def _source(location: str) -> str:
    """Shorten a line of Python to where it is in its package."""
    path, _, line = location.rpartition(":")
    for package in (amaranth, hw):  # the one may be installed below the other
        root = Path(str(package.__file__)).parents[1]
        if Path(path).is_relative_to(root):
            return f"{Path(path).relative_to(root).as_posix()}:{line}"
    return f"{Path(path).name}:{line}"


def _parse(text: str) -> Iterator[Mutant]:
    """Yield the mutants of a list that Yosys wrote, numbered, without those to be spared."""
    number = 0
    for line in text.splitlines():
        options = re.findall(r" -(\w+) (.*?)(?= -|$)", line)
        one = dict(options)
        if one["port"] in SPARED:
            continue
        number += 1
        yield Mutant(
            number,
            one["mode"],
            one["module"],
            one["cell"],
            one["port"],
            int(one["portbit"]),
            int(one.get("ctrlbit", -1)),
            f"{one['wire']}[{one['wirebit']}]" if "wire" in one else "",
            tuple(sorted({_source(value) for name, value in options if name == "src"})),
        )


class Mutants:
    """A block's mutants in one netlist, compiled once; an input selects one of them.

    ``mutate`` of Yosys spreads them over modules, cells, wires and lines of Python. A mutant is a
    change of a module, so of all its instances, as a bug in its source would be.

    Parameters
    ----------
    block : Block
    name : str
        Module name.
    count : int
        How many; fewer if there are not so many.
    seed : int
        Of their choice.
    directory : Path
        Scratch.

    Raises
    ------
    UsageError
        If ``count`` does not fit the control input.
    RuntimeError
        If a tool fails.
    """

    def __init__(self, block: Block, name: str, count: int, seed: int, directory: Path) -> None:
        most = (1 << CONTROL.width) - 1
        if not 1 <= count <= most:
            raise UsageError(f"{count} mutants, outside 1..{most}")
        component = block.build()
        (directory / "block.il").write_text(netlist(component, name, emit_src=True))
        # Some of those chosen are spared.
        drawn = count + count // 4 + 20
        run_yosys(PREPARE.format(top=PREFIX + name, count=drawn, seed=seed), directory)
        self.mutants = list(_parse((directory / "mutants.txt").read_text()))[:count]
        mutations = "\n".join(mutant.command for mutant in self.mutants)
        run_yosys(APPLY.format(mutations=mutations), directory)
        text = (directory / "mutants.v").read_text()
        self.model = VerilatedModel(component, name, text=text, controls=[CONTROL])
        self.recording = record(self.model.inputs, self.model.outputs, block.plays())
        before = self.model.inputs[: self.model.inputs.index(CONTROL)]
        self._control = sum(port.words for port in before)

    def first_difference(self, number: int) -> int | None:
        """Return the cycle in which a mutant fails, or None; number 0 is the block itself."""
        played: Recording = self.recording.with_input(self._control, number)
        return self.model.replay(played.inputs, played.expected, played.care)


@dataclass(frozen=True)
class Outcome:
    """What became of a block's mutants.

    Attributes
    ----------
    cycles : int
        Compared with the cycle model.
    killed : dict of Mutant to int
        Those that differ, and in which cycle.
    survived : list of Mutant
    equivalent : list of Mutant
        Those proved to show the same at all outputs that matter, whatever comes in.
    """

    cycles: int
    killed: dict[Mutant, int]
    survived: list[Mutant]
    equivalent: list[Mutant]

    @property
    def score(self) -> float:
        """Share of killed ones among those not equivalent."""
        return len(self.killed) / max(1, len(self.killed) + len(self.survived))


def measure(
    name: str,
    block: Block,
    *,
    count: int,
    seed: int = 0,
    seconds: float = 30,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Outcome:
    """Make mutants of a block, run them, and try to prove those that survive equivalent.

    Parameters
    ----------
    name : str
        Module name.
    block : Block
    count, seed : int
        Of the mutants.
    seconds : float
        Longest that a proof may take.
    progress : callable
        Called with what is done, how often it was done, and how often it will be.

    Raises
    ------
    AssertionError
        If the block itself differs from its model.
    RuntimeError
        If a tool fails.
    """
    with scratch() as directory:
        progress("compiling", 0, 1)
        made = Mutants(block, name, count, seed, directory)
        difference = made.first_difference(0)
        if difference is not None:
            raise AssertionError(f"{name} without a mutation fails in cycle {difference}")
        killed, alive = {}, []
        for at, mutant in enumerate(made.mutants):
            progress("running mutants", at, len(made.mutants))
            cycle = made.first_difference(mutant.number)
            if cycle is None:
                alive.append(mutant)
            else:
                killed[mutant] = cycle
        prover = Prover(directory, PREFIX + name, made.model, CONTROL, block.gates)
        survived: list[Mutant] = []
        equivalent: list[Mutant] = []
        for at, mutant in enumerate(alive):
            progress("proving survivors", at, len(alive))
            proved = prover.equivalent(mutant.number, mutant.module, seconds)
            (equivalent if proved else survived).append(mutant)
    return Outcome(len(made.recording.inputs), killed, survived, equivalent)
