"""The machine as the host sees it."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dtqatten.descriptor import (
    ADDRESS_ALIGNMENT,
    PAGE_BYTES,
    SIZE,
    VERSION,
    Flag,
    pack,
    region_sizes,
)
from dtqatten.driver.bus import Bus
from dtqatten.driver.errors import AbortedError, LayoutError, error_of
from dtqatten.driver.layers import Layer, Result
from dtqatten.registers import IDENTIFIER, REGISTERS, Control, Interrupt, Status, offset_of

__all__ = ["Arena", "Chain", "Device"]

#: Registers of a machine's sizes, read once.
SIZES = (
    *("rows", "cols", "depth", "planes", "d_head", "n_max", "heads", "bus_bits"),
    *("flags", "flags_required"),
)

_WIDE = {register.name for register in REGISTERS if register.bits == 64}


class Arena:
    """Memory given out from the bottom up, aligned for the machine.

    Parameters
    ----------
    base, size : int
        Whole pages.

    Raises
    ------
    LayoutError
        If they are not.
    """

    def __init__(self, base: int, size: int) -> None:
        if base % PAGE_BYTES or size % PAGE_BYTES or size <= 0:
            raise LayoutError(
                f"memory of {size} bytes at {base:#x}: windows are whole pages of {PAGE_BYTES}"
            )
        self.base, self.size = base, size
        self._used = 0

    @property
    def last(self) -> int:
        """Address of the last byte."""
        return self.base + self.size - 1

    def clear(self) -> None:
        """Take everything back."""
        self._used = 0

    def take(self, size: int) -> int:
        """Return the address of ``size`` bytes.

        Raises
        ------
        LayoutError
            If there are not so many left.
        """
        start = -(-self._used // ADDRESS_ALIGNMENT) * ADDRESS_ALIGNMENT
        if start + size > self.size:
            raise LayoutError(
                f"{size} bytes wanted, {max(0, self.size - start)} left of the {self.size} at "
                f"{self.base:#x}: give the driver more memory, or run shorter chains"
            )
        self._used = start + size
        return self.base + start


class Device:
    """Run chains of layers.

    Parameters
    ----------
    bus : Bus
    inputs, outputs : Arena
        Memory that the machine reads and writes; they become its windows.

    Attributes
    ----------
    sizes : dict of int
        What the machine was generated with, as its registers say.
    chain : list of (int, dict of int)
        Addresses and fields of the last chain's descriptors.

    Raises
    ------
    LayoutError
        If there is no such machine on the bus, or its layout of descriptors is another.
    """

    def __init__(self, bus: Bus, inputs: Arena, outputs: Arena) -> None:
        self.bus, self.inputs, self.outputs = bus, inputs, outputs
        found, version = self.register("id"), self.register("version")
        if found != IDENTIFIER or version != VERSION:
            raise LayoutError(
                f"id {found:#x}, version {version}: expected {IDENTIFIER:#x}, {VERSION}"
            )
        self.chain: list[tuple[int, dict[str, int]]] = []
        self.sizes = {name: self.register(name) for name in SIZES}

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

    def abort(self) -> None:
        """End the chain that is running; :meth:`run` raises :class:`AbortedError`."""
        self.set_register("control", Control.ABORT)

    def run(self, layers: Sequence[Layer | Callable[[Result], Layer]]) -> list[Result]:
        """Run a chain and return what each layer gives.

        Parameters
        ----------
        layers : sequence of Layer, or of functions
            A function gets the result of the layer before and returns the layer: the machine
            waits for it.

        Raises
        ------
        LayoutError
            If the arrays are not what the machine, or its memory, can take.
        DeviceError
            If the machine refuses or fails, by error code: ``driver.errors.EXCEPTIONS``.
        AbortedError
            If the chain was aborted.
        TimeoutError
            If the machine does not answer within the bus's time.
        """
        chain = Chain(self, len(layers))
        for layer in layers:
            chain.add(layer if isinstance(layer, Layer) else layer(chain.run()[-1]))
        return chain.run()

    def prepare(self, layers: int) -> list[int]:
        """Take all memory back and return the places of a chain's descriptors, none ready.

        Raises
        ------
        LayoutError
            If there are no layers, or no room.
        """
        if layers < 1:
            raise LayoutError("a chain has at least one layer")
        self.inputs.clear()
        self.outputs.clear()
        self.chain.clear()
        addresses = [self.inputs.take(SIZE) for _ in range(layers)]
        for address in addresses:
            self.bus.write(address, pack({}))
        return addresses

    def place(
        self,
        layer: Layer,
        address: int,
        following: int,
        before: tuple[Layer, Mapping[str, int]] | None = None,
    ) -> dict[str, int]:
        """Write a layer's contents and then its descriptor; return the descriptor's fields.

        Parameters
        ----------
        layer : Layer
        address : int
            Of its descriptor.
        following : int
            Of the next one; 0 ends the chain.
        before : (Layer, fields), optional
            The layer before.
        """
        self.check(layer)
        tokens = layer.stored
        if layer.chained:
            if before is None:
                raise LayoutError("the first layer is chained: there is no layer before it")
            tokens = before[0].k0
        fields = layer.fields(tokens)
        contents = layer.contents()
        for name, size, written in region_sizes(fields, layer.q.codes.shape[2]):
            fields[name] = (self.outputs if written else self.inputs).take(size)
            if not written:
                self.bus.write(fields[name], contents[name])
        fields |= {"next": following, "ready": 1}
        self.bus.write(address, pack(fields))
        self.chain.append((address, fields))
        return fields

    def check(self, layer: Layer) -> None:
        """Refuse what this machine was not generated for.

        Raises
        ------
        LayoutError
            With value, limit and way out.
        """
        sizes = self.sizes
        heads, stored, d = layer.q.codes.shape
        if d != sizes["d_head"]:
            raise LayoutError(
                f"{d} channels, but the machine has d_head {sizes['d_head']}: pad with zeros, "
                "or generate another"
            )
        for name, value, limit in (
            ("heads", heads, sizes["heads"]),
            ("tokens", stored, sizes["n_max"]),
        ):
            if value > limit:
                raise LayoutError(f"{value} {name}, more than the machine's {limit}: split them")
        unknown = layer.flags & ~Flag(sizes["flags"])
        missing = Flag(sizes["flags_required"]) & ~layer.flags
        if unknown or missing:
            raise LayoutError(
                f"the machine cannot do {unknown!r} and needs {missing!r}: change the layer, or "
                "generate it with other options (v_gains, cumulative, count_normalize)"
            )

    def start(self, descriptor: int) -> None:
        """Program windows and interrupts, and start the chain at a descriptor."""
        for name, value in (
            ("read_base", self.inputs.base),
            ("read_limit", self.inputs.last),
            ("write_base", self.outputs.base),
            ("write_limit", self.outputs.last),
            ("descriptor", descriptor),
            ("interrupt", int(~Interrupt(0))),
            ("interrupt_enable", int(~Interrupt(0))),
            ("control", Control.START),
        ):
            self.set_register(name, value)

    def collect(self, layer: Layer, fields: Mapping[str, int]) -> Result:
        """Return the result of a complete layer."""
        heads, tokens, d = layer.heads, fields["tokens"], layer.q.codes.shape[2]
        sizes = {name: size for name, size, _ in region_sizes(fields, d)}

        def array(name: str, kind: str) -> np.ndarray | None:
            if name not in sizes:
                return None
            return np.frombuffer(self.bus.read(fields[name], sizes[name]), kind)

        output = array("output", "i1" if layer.options.output_bits == 8 else "<i2")
        assert output is not None
        ids = array("ids", "<u2")
        bits = np.repeat(np.array([4, 8], np.uint8), [layer.k0 - layer.k1, layer.k1])
        return Result(
            output.reshape(heads, tokens, d),
            layer.output_unit(),
            None if ids is None else ids.astype(np.int64),
            bits,
            array("importance", "<u4"),
        )


class Chain:
    """A chain whose layers are given as they become known.

    Parameters
    ----------
    device : Device
    length : int
        Layers that it will have.

    Raises
    ------
    LayoutError
        If there are no layers, or no room for their descriptors.
    """

    def __init__(self, device: Device, length: int) -> None:
        self.device = device
        self._addresses = device.prepare(length)
        self._placed: list[tuple[Layer, Mapping[str, int]]] = []
        self._results: list[Result] = []
        self._started = False

    def add(self, layer: Layer) -> None:
        """Put the next layer into memory.

        Raises
        ------
        LayoutError
            If the arrays are not what the machine, or its memory, can take.
        """
        at = len(self._placed)
        follows = self._addresses[at + 1] if at + 1 < len(self._addresses) else 0
        before = self._placed[-1] if self._placed else None
        fields = self.device.place(layer, self._addresses[at], follows, before)
        self._placed.append((layer, fields))

    def run(self) -> list[Result]:
        """Run until all layers given so far are complete; return the results of all.

        Raises
        ------
        DeviceError
            If the machine refuses or fails.
        AbortedError
            If the chain was aborted.
        TimeoutError
            If the machine does not answer within the bus's time.
        """
        device, placed, results = self.device, self._placed, self._results
        if self._started:
            device.set_register("control", Control.RESUME)
        else:
            device.start(self._addresses[0])
            self._started = True
        while True:
            device.bus.wait()
            device.set_register("interrupt", device.register("interrupt"))
            status = Status(device.register("status"))
            done = device.register("layers_done")
            while len(results) < min(done, len(placed)):
                results.append(device.collect(*placed[len(results)]))
            if Status.BUSY not in status:
                break
            if Status.WAITING in status and done == len(placed):
                return results
        if Status.ERROR in status:
            raise error_of(device.register("error_code"), device.register("error_address"), done)
        if Status.ABORTED in status:
            raise AbortedError(f"aborted after {done} complete layers")
        return results
