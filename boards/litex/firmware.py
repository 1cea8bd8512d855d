"""Firmware of a LiteX SoC: the C driver and what calls it, compiled for VexRiscv."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import litex

from dtqatten.boards.c_sources import FOLDER
from dtqatten.files.errors import ToolError
from dtqatten.files.notices import run_tool

__all__ = ["COMPILER", "compile_firmware"]

COMPILER = "riscv64-unknown-elf-gcc"
#: VexRiscv of variant `standard`; what libgcc and picolibc have for it.
TARGET = ("-march=rv32im", "-misa-spec=2.2", "-mabi=ilp32", "--specs=picolibc.specs")
LINKED = ("-nostartfiles", "-Wl,--no-warn-rwx-segments")
WARNINGS = ("-Wall", "-Wextra", "-Werror")


def compile_firmware(generated: Path, chain: str, to: Path, defines: Sequence[str] = ()) -> bytes:
    """Compile the firmware that runs a chain, and return what goes into ROM.

    Parameters
    ----------
    generated : Path
        What :func:`dtqatten.boards.litex.simulated.write_soc` wrote.
    chain : str
        Layers and results, by :func:`dtqatten.boards.c_layers.c_chain`.
    to : Path
        Folder for objects.
    defines : sequence of str
        Macros.

    Raises
    ------
    ToolError
        If the compiler is missing, or fails, with its messages.
    """
    if shutil.which(COMPILER) is None:
        raise ToolError(
            f"{COMPILER} is not installed: apt-get install gcc-riscv64-unknown-elf "
            "picolibc-riscv64-unknown-elf"
        )
    (to / "chain.c").write_text(chain)
    cpu = Path(litex.__file__).parent / "soc" / "cores" / "cpu" / "vexriscv"
    own = [FOLDER, FOLDER / "litex", FOLDER / "firmware"]
    command = [
        *(COMPILER, "-std=gnu11", "-Os", *TARGET, *LINKED, *WARNINGS),
        *(f"-D{name}" for name in defines),
        *(f"-I{folder}" for folder in own),
        *(f"-isystem{folder}" for folder in (generated, cpu, cpu.parents[2] / "software/include")),
        *(f"-L{generated}", f"-T{FOLDER / 'firmware' / 'linker.ld'}", "-o", "firmware.elf"),
        # The CPU begins with the first file.
        cpu / "crt0.S",
        *(path for folder in own for path in sorted(folder.glob("*.c"))),
        "chain.c",
    ]
    for step in (
        command,
        [COMPILER.replace("gcc", "objcopy"), "-O", "binary", "firmware.elf", "firmware.bin"],
    ):
        done = run_tool([str(word) for word in step], cwd=to)
        if done.returncode:
            raise ToolError(f"{step[0]} fails:\n{done.stdout}{done.stderr}")
    return (to / "firmware.bin").read_bytes()
