"""A design to synthesize: Verilog and its top module."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from dtqatten.synth.tools import InputError

__all__ = ["Design"]


@dataclass(frozen=True)
class Design:
    """A design in Verilog.

    Parameters
    ----------
    name : str
        Names its results.
    top : str
        Top module.
    sources : dict of str to str
        Text of each file by its name; a name in ``.sv`` makes it SystemVerilog.
    clock : str
        Clock port of the top module.
    ideal : tuple of str
        Inputs that change so rarely that paths from them do not count, such as a reset.
    collisions_matter : bool
        Whether what is read from a word that is being written must be the old value. FPGA block
        RAM needs extra logic for it.
    """

    name: str
    top: str
    sources: dict[str, str]
    clock: str = "clk"
    ideal: tuple[str, ...] = ("rst",)
    collisions_matter: bool = True

    @classmethod
    def of_files(cls, files: list[Path], top: str, clock: str, ideal: list[str]) -> "Design":
        """Return the design in some files.

        Parameters
        ----------
        files : list of Path
            Verilog.
        top, clock : str
            Names of the top module and of its clock port.
        ideal : list of str
            Ports whose paths do not count.

        Raises
        ------
        InputError
            If a file cannot be read, or a name has characters that the tools' scripts cannot hold.
        """
        for option, name in (("top", top), ("clock", clock), *(("ideal", each) for each in ideal)):
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
                raise InputError(f"--{option} is {name!r}: give a name of letters, digits and _")
        sources = {}
        for number, path in enumerate(files):
            suffix = ".sv" if path.suffix == ".sv" else ".v"
            try:
                sources[f"source_{number}{suffix}"] = path.read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"cannot read {path}: {error}") from None
        return cls(top, top, sources, clock, tuple(ideal))

    def write(self, folder: Path) -> str:
        """Write the sources to ``folder`` and return the Yosys commands that read them."""
        for name, text in self.sources.items():
            (folder / name).write_text(text)
        return "".join(
            f"read_verilog {'-sv ' * name.endswith('.sv')}{name}\n" for name in self.sources
        )

    def key(self, **options: object) -> str:
        """Return a hash of the design and of what it is synthesized with."""
        content = json.dumps([asdict(self), options], sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()
