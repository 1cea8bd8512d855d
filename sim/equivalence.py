"""Proof that a mutant of a block behaves as the block does."""

from collections.abc import Mapping
from pathlib import Path

from dtqatten.sim.verilated import Port, VerilatedModel
from dtqatten.sim.yosys import abc, run_yosys

__all__ = ["Prover"]

# To gates and registers that start at 0, memories included, once for all mutants.
GATES = """
read_rtlil mutants.il
hierarchy -top {top}
flatten
opt_clean
memory_map
opt -full
techmap
dfflegalize -cell $_DFF_P_ 0
aigmap
setundef -zero
opt_clean
setattr -unset init w:*
write_rtlil gates.il
"""

MITER = """
read_rtlil gates.il
read_verilog miter.v
hierarchy -top miter
techmap miter
aigmap miter
flatten
setundef -zero -init
write_aiger -zinit miter.aig
"""

# Signal correspondence merges all that is equal by induction over 1, 2 and 6 cycles, over the two
# copies too, so that equivalent copies leave an output that nothing can set.
PROVE = "read_aiger miter.aig; scorr; scorr -F 2; scorr -F 6; print_stats; sat"


class Prover:
    """Sequential equivalence of mutants, both copies from power-up on, with any inputs.

    Outputs that do not matter in a cycle, such as a stream's payload without ``valid``, may
    differ in it.

    Parameters
    ----------
    directory : Path
        Holds ``mutants.il``, the netlist of all mutants.
    top : str
        Module.
    model : VerilatedModel
        Of the same netlist; gives the ports.
    control : Port
        Selects a mutant; 0 is the block itself.
    gates : mapping of str to str
        Outputs that matter only while another one is set, beside payloads.

    Raises
    ------
    RuntimeError
        If a tool fails.
    """

    def __init__(
        self,
        directory: Path,
        top: str,
        model: VerilatedModel,
        control: Port,
        gates: Mapping[str, str],
    ) -> None:
        self.directory, self.top, self.control = directory, top, control
        self.inputs = [port for port in model.inputs if port != control]
        self.outputs = model.outputs
        names = {port.name for port in model.outputs}
        payloads = (name for name in names if name.endswith("__payload"))
        run_yosys(GATES.format(top=top), directory)
        self.gates = {name: name.replace("__payload", "__valid") for name in payloads}
        self.gates |= gates

    def _miter(self, number: int) -> str:
        ports = ["input clk", "output differ"]
        ports += [f"input [{port.width - 1}:0] {port.name}" for port in self.inputs]
        lines, differ = [], []
        for copy, selected in (("good", 0), ("mutant", number)):
            pins = [".clk(clk)", f".{self.control.name}({self.control.width}'d{selected})"]
            pins += [f".{port.name}({port.name})" for port in self.inputs]
            for port in self.outputs:
                lines.append(f"wire [{port.width - 1}:0] {copy}_{port.name};")
                pins.append(f".{port.name}({copy}_{port.name})")
            lines.append(f"{self.top} {copy}({', '.join(pins)});")
        for port in self.outputs:
            unlike = f"good_{port.name} != mutant_{port.name}"
            gate = self.gates.get(port.name)
            differ.append(f"(good_{gate} && {unlike})" if gate else f"({unlike})")
        lines.append(f"assign differ = {' || '.join(differ)};")
        return f"module miter({', '.join(ports)});\n" + "\n".join(lines) + "\nendmodule\n"

    def equivalent(self, number: int, seconds: float) -> bool:
        """Return whether a mutant is proved to be the block; False if it is not proved in time.

        Raises
        ------
        RuntimeError
            If a tool fails.
        """
        (self.directory / "miter.v").write_text(self._miter(number))
        run_yosys(MITER, self.directory)
        log = abc(PROVE, self.directory, seconds)
        if log and "i/o =" not in log:
            raise RuntimeError(f"ABC has no miter:\n{log}")
        return "UNSATISFIABLE" in log
