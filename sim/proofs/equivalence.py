"""Proof that a mutant of a block behaves as the block does."""

from collections.abc import Mapping
from pathlib import Path

from dtqatten.sim.engines.verilated import Port, VerilatedModel
from dtqatten.sim.proofs.yosys import abc, run_yosys

__all__ = ["Prover"]

# To gates and registers that start at 0, memories included, once for all mutants. Equal cells stay
# apart here: Yosys refuses to merge registers of which one has no initial value yet.
GATES = """
read_rtlil mutants.il
hierarchy -top {top}
flatten
opt_clean
memory_map
opt_expr -full
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

# The same for a module alone, whose copies Yosys compares at all outputs, in every cycle.
MODULE_GATES = GATES.replace("gates.il", "module.il")

MODULE_MITER = """
read_rtlil module.il
copy {module} good
copy {module} changed
delete {module}
delete -port good/w:{control} changed/w:{control}
cd good
connect -set {control} {width}'d0
cd changed
connect -set {control} {width}'d{number}
cd ..
miter -equiv good changed miter
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
        self._module = ""

    def _miter(self, number: int) -> str:
        ports = ["input clk", "output differ"]
        # Escaped: a port's name may be a reserved word.
        ports += [f"input [{port.width - 1}:0] \\{port.name} " for port in self.inputs]
        lines, differ = [], []
        for copy, selected in (("good", 0), ("mutant", number)):
            pins = [".clk(clk)", f".{self.control.name}({self.control.width}'d{selected})"]
            pins += [f".\\{port.name} (\\{port.name} )" for port in self.inputs]
            for port in self.outputs:
                lines.append(f"wire [{port.width - 1}:0] {copy}_{port.name};")
                pins.append(f".\\{port.name} ({copy}_{port.name})")
            lines.append(f"{self.top} {copy}({', '.join(pins)});")
        for port in self.outputs:
            unlike = f"good_{port.name} != mutant_{port.name}"
            gate = self.gates.get(port.name)
            differ.append(f"(good_{gate} && {unlike})" if gate else f"({unlike})")
        lines.append(f"assign differ = {' || '.join(differ)};")
        return f"module miter({', '.join(ports)});\n" + "\n".join(lines) + "\nendmodule\n"

    def equivalent(self, number: int, module: str, seconds: float) -> bool:
        """Return whether a mutant is proved to be the block; False if it is not proved in time.

        What is equal in its module, whatever comes into that, is equal in the block: that is tried
        first, for it is small. What differs there may still not matter to the block.

        Parameters
        ----------
        number : int
            Of the mutant.
        module : str
            That it changes.
        seconds : float
            Longest that each of the two proofs may take.

        Raises
        ------
        RuntimeError
            If a tool fails.
        """
        if module != self.top:
            if module != self._module:
                run_yosys(MODULE_GATES.format(top=module), self.directory)
                self._module = module
            control = {"control": self.control.name, "width": self.control.width}
            script = MODULE_MITER.format(module=module, number=number, **control)
            run_yosys(script, self.directory)
            if self._proved(seconds):
                return True
        (self.directory / "miter.v").write_text(self._miter(number))
        run_yosys(MITER, self.directory)
        return self._proved(seconds)

    def _proved(self, seconds: float) -> bool:
        log = abc(PROVE, self.directory, seconds)
        if log and "i/o =" not in log:
            raise RuntimeError(f"ABC has no miter:\n{log}")
        return "UNSATISFIABLE" in log
