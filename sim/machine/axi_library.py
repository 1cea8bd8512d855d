"""What Python calls of a verilated system with its memory: compiled once, loaded with its types."""

import ctypes
from importlib import resources
from pathlib import Path

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import PREFIX
from dtqatten.hw.system import System
from dtqatten.sim.engines.compiler import compiled
from dtqatten.sim.engines.exported import exported
from dtqatten.sim.engines.verilated import without_initial_values

__all__ = ["Issued", "load"]

#: Result and arguments of every function of ``axi_library.cpp``.
FUNCTIONS = (
    ("create", "p", "qqi"),
    ("destroy", None, "p"),
    ("dump", "i", "ps"),
    ("memory", "p", "p"),
    ("configure", None, "pqiidi"),
    ("set_window", None, "piqq"),
    ("inject", None, "pjji"),
    ("reset", None, "pi"),
    ("access_register", "i", "piiP"),
    ("run", "q", "pqi"),
    ("interrupt", "i", "p"),
    ("counters", None, "pP"),
    ("record", None, "pi"),
    ("recorded", "q", "p"),
    ("records", "p", "p"),
)
TYPES = {
    "p": ctypes.c_void_p,
    "P": ctypes.c_void_p,
    "q": ctypes.c_uint64,
    "j": ctypes.c_int64,
    "i": ctypes.c_uint32,
    "d": ctypes.c_double,
    "s": ctypes.c_char_p,
}


class Issued(ctypes.Structure):
    """A burst that the memory has recorded, with the cycle in which it was accepted."""

    _fields_ = (
        ("address", ctypes.c_uint64),
        ("id", ctypes.c_uint32),
        ("beats", ctypes.c_uint32),
        ("width", ctypes.c_uint32),
        ("written", ctypes.c_uint32),
        ("cycle", ctypes.c_uint32),
    )


def load(
    system: SystemConfig, optimize: int, power_up: int | None, waves: Path | None
) -> ctypes.CDLL:
    """Return the library of a system, compiled if that has not been done before.

    Parameters
    ----------
    system : SystemConfig
    optimize : int
        As of :func:`dtqatten.sim.engines.compiler.compiled`.
    power_up : int or None
        None for the initial values that Verilog gives; with a number there are none.
    waves : Path or None
        Whether the model can write waves.

    Raises
    ------
    RuntimeError
        If Verilator or the C++ compiler fails, with their messages.
    """
    folder = resources.files("dtqatten.sim.machine")
    sources = [folder.joinpath(name).read_text() for name in ("axi_memory.cpp", "axi_library.cpp")]
    shim = (
        f'#include "V{PREFIX}system.h"\n#define MODEL V{PREFIX}system\n'
        f"#define BUS_BYTES {system.bus_bytes}\n"
        f"{'' if waves is None else '#define DUMP_WAVES'}\n" + "\n".join(sources)
    )
    text = exported("system", System, system)
    if power_up is not None:
        text = without_initial_values(text)
    library = ctypes.CDLL(str(compiled(text, "system", shim, optimize, waves=waves is not None)))
    for name, result, arguments in FUNCTIONS:
        function = getattr(library, name)
        function.restype = None if result is None else TYPES[result]
        function.argtypes = [TYPES[kind] for kind in arguments]
    return library
