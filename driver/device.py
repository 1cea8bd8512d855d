"""The machine as the host sees it."""

from collections.abc import Callable, Sequence

from dtqatten.driver.blocks import Block, Result, check_gains
from dtqatten.driver.bus import Bus
from dtqatten.driver.chain import Chain
from dtqatten.driver.errors import LayoutError, NotIdleError
from dtqatten.driver.session import session_of
from dtqatten.interface.descriptor import ADDRESS_ALIGNMENT, OPTION_FLAGS, PAGE_BYTES, VERSION, Flag
from dtqatten.interface.registers import (
    IDENTIFIER,
    REGISTERS,
    Control,
    Interrupt,
    Status,
    offset_of,
)

__all__ = ["Arena", "Device"]

#: Registers of a machine's sizes, read once.
SIZES = (
    *("rows", "cols", "depth", "value_depth", "planes", "d_head", "n_max", "capacity"),
    *("merge_rows", "bias_heads"),
    *("heads", "bus_bits", "address_bits", "flags", "flags_required"),
)

_WIDE = {register.name for register in REGISTERS if register.bits == 64}


class Arena:
    """Memory given out from the bottom up, or for good from the top down, aligned for the machine.

    Parameters
    ----------
    base, size : int
        Whole pages, at least one.

    Raises
    ------
    LayoutError
        If they are not.
    """

    def __init__(self, base: int, size: int) -> None:
        if base % PAGE_BYTES or size % PAGE_BYTES or base < 0 or size <= 0:
            raise LayoutError(
                f"memory of {size} bytes at {base:#x}: windows are whole pages of {PAGE_BYTES}, "
                "at least one"
            )
        self.base, self.size = base, size
        self._used = 0
        # What is kept for good lies at the top.
        self._top = size

    @property
    def last(self) -> int:
        """Address of the last byte."""
        return self.base + self.size - 1

    @property
    def kept(self) -> int:
        """Bytes that are given out for good."""
        return self.size - self._top

    def clear(self) -> None:
        """Take everything back but what is kept."""
        self._used = 0

    def take(self, size: int) -> int:
        """Return the address of ``size`` bytes.

        Raises
        ------
        LayoutError
            If there are not so many left.
        """
        start = -(-self._used // ADDRESS_ALIGNMENT) * ADDRESS_ALIGNMENT
        if start + size > self._top:
            raise self._full(size, self._top - start, "or run shorter chains")
        self._used = start + size
        return self.base + start

    def keep(self, size: int) -> int:
        """Return the address of ``size`` bytes that :meth:`clear` does not take back.

        Raises
        ------
        LayoutError
            If there are not so many left.
        """
        start = (self._top - size) // ADDRESS_ALIGNMENT * ADDRESS_ALIGNMENT
        if start < self._used:
            raise self._full(size, self._top - self._used, "or keep less in it")
        self._top = start
        return self.base + start

    def _full(self, size: int, left: int, way_out: str) -> LayoutError:
        return LayoutError(
            f"{size} bytes wanted, {max(0, left)} left of the {self.size} at "
            f"{self.base:#x}: give the driver more memory, {way_out}"
        )


class Device:
    """Run chains of layers.

    A chain begins on an idle machine: one that another program left running is aborted first.
    However a chain ends (by itself, by an exception or by Ctrl-C), it leaves the machine idle with
    its interrupts off. Only one call at a time may use a machine, except :meth:`abort` and
    :meth:`register`.

    Parameters
    ----------
    bus : Bus
    inputs, outputs : Arena
        Memory that the machine reads and writes; they become its windows.
    patience : int
        Consecutive reads of ``status``, or returns from the bus's wait, without news before the
        driver gives up.

    Attributes
    ----------
    sizes : dict of int
        The machine's sizes, from its registers.
    session : Session
        The session of its bus.
    chain : list of (int, dict of int)
        Addresses and fields of the last chain's descriptors.

    Raises
    ------
    LayoutError
        If there is no such machine on the bus, its layout of descriptors is another, it cannot
        address the memory, or ``inputs`` and ``outputs`` overlap.
    """

    def __init__(self, bus: Bus, inputs: Arena, outputs: Arena, *, patience: int = 100_000) -> None:
        self.bus, self.inputs, self.outputs, self.patience = bus, inputs, outputs, patience
        found, version = self.register("id"), self.register("version")
        if found != IDENTIFIER or version != VERSION:
            raise LayoutError(
                f"id {found:#x}, version {version}: expected {IDENTIFIER:#x}, {VERSION}"
            )
        self.session = session_of(bus)
        self.chain: list[tuple[int, dict[str, int]]] = []
        self.sizes = {name: self.register(name) for name in SIZES}
        for arena in (inputs, outputs):
            if arena.last >> self.sizes["address_bits"]:
                raise LayoutError(
                    f"memory up to {arena.last:#x}, but the machine has "
                    f"{self.sizes['address_bits']} address bits: give it lower memory, or generate "
                    "it with more address_bits"
                )
        if inputs.base <= outputs.last and outputs.base <= inputs.last:
            raise LayoutError(
                f"inputs {inputs.base:#x}..{inputs.last:#x} and outputs "
                f"{outputs.base:#x}..{outputs.last:#x} overlap: results would overwrite what is "
                "still to be read; give them memory of their own"
            )

    def register(self, name: str) -> int:
        """Return a register's value."""
        offset = offset_of(name)
        value = self.bus.read_register(offset)
        return value | self.bus.read_register(offset + 4) << 32 if name in _WIDE else value

    def set_register(self, name: str, value: int) -> None:
        """Write a register."""
        offset = offset_of(name)
        self.bus.write_register(offset, value & 0xFFFFFFFF)
        if name in _WIDE:
            self.bus.write_register(offset + 4, value >> 32)

    @property
    def readable(self) -> tuple[int, int]:
        """First and last byte that the machine may read: its inputs.

        Where caches keep importance among the outputs, which it reads, too, all memory from the
        first to the last byte of both.
        """
        if not self.outputs.kept:
            return self.inputs.base, self.inputs.last
        both = (self.inputs, self.outputs)
        return min(arena.base for arena in both), max(arena.last for arena in both)

    @property
    def status(self) -> Status:
        """The machine's status."""
        return Status(self.register("status"))

    def abort(self) -> None:
        """End the chain that is running, or is about to; :meth:`run` raises ``AbortedError``.

        For other threads, signal handlers and layer functions. A chain that is complete already
        stays so.
        """
        chain = self.session.chain
        if chain is not None:
            chain.aborting = True
        self.set_register("control", Control.ABORT)

    def make_idle(self) -> None:
        """Make the machine idle, with no interrupt enabled or pending.

        Raises
        ------
        NotIdleError
            If it stays busy after an abort.
        """
        self.set_register("interrupt_enable", 0)
        if Status.BUSY in self.status:
            self.set_register("control", Control.ABORT)
            if not any(Status.BUSY not in self.status for _ in range(self.patience)):
                raise NotIdleError(
                    f"the machine is busy after an abort and {self.patience} looks at its status, "
                    f"{self.status!r}: the bus owes it answers. Reset it together with its side of "
                    "the bus, then run again (docs/system.md, Reset)"
                )
        self.set_register("interrupt", int(~Interrupt(0)))

    def run(self, layers: Sequence[Block | Callable[[Result], Block]]) -> list[Result]:
        """Run a chain and return each layer's results.

        Parameters
        ----------
        layers : sequence of Layer or Call, or of functions
            A function takes the previous layer's result and returns the layer; the machine waits
            for it.

        Raises
        ------
        LayoutError
            If the arrays do not suit the machine or its memory.
        DeviceError
            If the machine refuses or fails, by error code: ``driver.errors.EXCEPTIONS``.
        AbortedError
            If the chain was aborted.
        TimeoutError
            If the machine does not answer within the bus's time.
        NotIdleError
            If the machine is busy with something else and cannot be stopped, or could not be
            stopped after one of the others, which is then its cause.
        StaleChainError
            If the machine was reset or runs something else meanwhile.
        InUseError
            If another call is using the machine.
        """
        chain = Chain(self, len(layers))
        with self.session.turn(chain), chain:
            for layer in layers:
                if not isinstance(layer, Block):
                    done = chain.run()
                    if not done:
                        raise LayoutError("the first layer is a function: give it as a Layer")
                    layer = layer(done[-1])
                chain.add(layer)
            return chain.run()

    def check(self, layer: Block) -> None:
        """Refuse layers that this machine was not generated for.

        Raises
        ------
        LayoutError
            With value, limit and way out.
        """
        sizes = self.sizes
        d = layer.q.codes.shape[2]
        if d != sizes["d_head"]:
            raise LayoutError(
                f"{d} channels, but the machine has d_head {sizes['d_head']}: pad with zeros, "
                "or generate another"
            )
        for value, name, register in ((layer.heads, "heads", "heads"), *layer.limits):
            if value > sizes[register]:
                raise LayoutError(
                    f"{value} {name}, more than the machine's {sizes[register]}: split them, or "
                    f"generate it with more {register}"
                )
        for name in ("q", "k", "v"):
            signed = layer.options.signed_gains and name != "v"
            check_gains(name.upper(), getattr(layer, name), signed)
        unknown = layer.flags & ~Flag(sizes["flags"])
        missing = Flag(sizes["flags_required"]) & ~layer.flags
        if unknown or missing:
            raise LayoutError(
                f"the machine cannot do {unknown!r} and needs {missing!r}: change the layer, or "
                f"generate it with other options ({', '.join(OPTION_FLAGS)})"
            )
