"""A chain of layers: into memory, onto the machine, and back as arrays."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from dtqatten.driver.blocks import Block, Result
from dtqatten.driver.errors import AbortedError, LayoutError, StaleChainError, error_of
from dtqatten.driver.heads import computed_heads, read_report
from dtqatten.driver.segments import Segment, pieces, sharing
from dtqatten.interface.descriptor import HEAD_BYTES, SIZE, pack
from dtqatten.interface.regions import region_sizes
from dtqatten.interface.registers import Control, Interrupt, Status

if TYPE_CHECKING:
    from dtqatten.driver.device import Device

__all__ = ["Chain"]


class Chain:
    """A chain whose layers are added one by one.

    A context manager: the chain begins with ``with``, on an idle machine, and always leaves it
    idle. It ends with the ``with``, with the first exception of :meth:`add` or :meth:`run`, or when
    another chain begins on the machine; from then on it is stale.

    Parameters
    ----------
    device : Device
    length : int
        Layers that it will have.

    Attributes
    ----------
    results : list of Result
        Results of the layers that are known to be complete, also after an exception.
    aborting : bool
        An abort is wanted, set by :meth:`Device.abort`.

    Raises
    ------
    LayoutError
        If there are no layers.
    """

    def __init__(self, device: "Device", length: int) -> None:
        if length < 1:
            raise LayoutError("a chain has at least one layer")
        self.device, self.length = device, length
        self.results: list[Result] = []
        self.aborting = False
        self._open = self._started = False
        # Of each descriptor that is written, and of the next one.
        self._addresses: list[int] = []
        self._steps: list[_Step] = []
        self._layers = 0
        # Descriptors whose results are collected, and outputs of a layer that is not complete.
        self._collected = 0
        self._parts: dict[int, list[np.ndarray]] = {}

    def __enter__(self) -> "Chain":
        """Begin.

        Raises
        ------
        LayoutError
            If there is no room for the descriptors.
        NotIdleError
            If the machine is busy with something else and cannot be stopped.
        InUseError
            If another call is using the machine.
        """
        device = self.device
        with device.session.turn(self):
            device.session.chain = self
            # Before memory changes that it may still use.
            device.make_idle()
            device.inputs.clear()
            device.outputs.clear()
            device.chain.clear()
            self._addresses = []
            self._reserve()
            self._open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the machine idle, unless it is another chain's by now.

        Raises
        ------
        NotIdleError
            If it cannot be made idle; its cause is the exception that has ended the chain.
        """
        if self._open and self.device.session.chain is self:
            with self.device.session.turn(self):
                self._end(error)

    def add(self, layer: Block) -> None:
        """Put the next layer into memory.

        Raises
        ------
        LayoutError
            If the arrays are not what the machine, or its memory, can take.
        TypeError
            If it is no layer.
        StaleChainError
            If this chain has ended.
        InUseError
            If another call is using the machine.
        """
        with self._guarded():
            if not isinstance(layer, Block):
                raise TypeError(
                    f"a layer is a Layer or a Call, not {layer!r}: did its function return one?"
                )
            if self._layers == self.length:
                raise LayoutError(f"this chain has its {self.length} layers: make it longer")
            if layer.chained and not self._layers:
                raise LayoutError("the first layer is chained: there is no layer before it")
            self._layers += 1
            whole = pieces(layer, self.device.sizes)
            for number, piece in enumerate(whole):
                if number:
                    piece = sharing(piece, self._steps[-1].fields)
                ends = number == len(whole) - 1
                final = ends and self._layers == self.length
                fields = self._place(piece, final=final)
                self._steps.append(_Step(layer, piece, fields, ends))

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
        StaleChainError
            If this chain has ended, or the machine does not run it any longer.
        NotIdleError
            If the machine could not be stopped after one of these, which is then its cause.
        InUseError
            If another call is using the machine.
        """
        with self._guarded():
            if self._collected < len(self._steps):
                self._go_on()
                self._wait()
            return list(self.results)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Admit one call at a time; an exception in it ends the chain."""
        device = self.device
        with device.session.turn(self):
            if not self._open:
                raise StaleChainError("this chain has not begun, or has ended: use it in a `with`")
            if device.session.chain is not self:
                raise StaleChainError("another chain has begun on the machine since: begin anew")
            try:
                yield
            except BaseException as error:
                self._end(error)
                raise

    def _end(self, error: BaseException | None) -> None:
        """Leave the machine idle, and raise if it is not; then ``error`` is the cause."""
        self._open = False
        try:
            self.device.make_idle()
        except Exception as failure:
            if error is None:
                raise
            if isinstance(error, Exception):
                raise failure from error
            # Ctrl-C and the like propagate unchanged.
            error.add_note(str(failure))

    def _reserve(self) -> int:
        """Take memory for a descriptor that is not ready, and say so there; return its address."""
        address = self.device.inputs.take(SIZE)
        self.device.bus.write(address, pack({}))
        self._addresses.append(address)
        return address

    def _place(self, layer: Block, *, final: bool) -> dict[str, int]:
        """Write a descriptor's contents and then itself; return its fields.

        Parameters
        ----------
        layer : Block
        final : bool
            It is the chain's last descriptor.
        """
        device = self.device
        device.check(layer)
        before = self._steps[-1].layer if self._steps else None
        kept = before.k0 if layer.chained and before is not None else 0
        fields = layer.fields(kept, computed_heads(layer, before))
        contents = layer.contents()
        for name, size, written in region_sizes(fields, layer.q.codes.shape[2]):
            if name in layer.placed:
                fields[name] = layer.placed[name]
                continue
            fields[name] = (device.outputs if written else device.inputs).take(size)
            if not written:
                device.bus.write(fields[name], contents[name])
        address = self._addresses[-1]
        following = 0 if final else self._reserve()
        fields |= {"next": following, "ready": 1}
        raw = pack(fields)
        # The machine may read meanwhile: the head, which says that the rest is valid, comes last.
        device.bus.write(address + HEAD_BYTES, raw[HEAD_BYTES:])
        device.bus.write(address, raw[:HEAD_BYTES])
        device.chain.append((address, fields))
        return fields

    def _go_on(self) -> None:
        """Start the machine, or have it go on from where it waits for the next layer."""
        device = self.device
        if self.aborting:
            raise AbortedError(f"aborted after {len(self.results)} complete layers")
        if self._started:
            where = (Status.WAITING in device.status, device.register("current"))
            if where != (True, self._addresses[self._collected]):
                raise StaleChainError(
                    f"the machine does not wait for layer {len(self.results)}: {device.status!r} "
                    f"at {device.register('current'):#x}; it was reset, or another host uses it"
                )
            device.set_register("control", Control.RESUME)
        else:
            for name, value in (
                ("read_base", device.readable[0]),
                ("read_limit", device.readable[1]),
                ("write_base", device.outputs.base),
                ("write_limit", device.outputs.last),
                ("descriptor", self._addresses[0]),
                ("interrupt_enable", int(~Interrupt(0))),
                ("control", Control.START),
            ):
                device.set_register(name, value)
            self._started = True
        # An abort between the check and the command had nothing to abort.
        if self.aborting:
            device.set_register("control", Control.ABORT)

    def _wait(self) -> None:
        """Wait until the layers placed are complete, and collect their results."""
        device, steps = self.device, self._steps
        fruitless = 0
        while True:
            try:
                device.bus.wait()
            except TimeoutError as late:
                late.add_note(
                    f"status {device.status!r}, {device.register('layers_done')} of "
                    f"{len(steps)} layers complete"
                )
                raise
            pending = device.register("interrupt")
            device.set_register("interrupt", pending)
            status, done = device.status, device.register("layers_done")
            if not self._collected <= done <= len(steps):
                raise StaleChainError(
                    f"{done} layers are complete, after {self._collected} of {len(steps)}: the "
                    "machine was reset, or another host uses it"
                )
            while self._collected < done:
                self._collect(steps[self._collected])
                self._collected += 1
            if Status.BUSY not in status:
                break
            if Status.WAITING in status and done == len(steps):
                return
            fruitless = 0 if pending else fruitless + 1
            if fruitless == device.patience:
                raise TimeoutError(
                    f"the bus has returned from its wait {fruitless} times without an interrupt; "
                    f"status {status!r}, {done} of {len(steps)} layers complete"
                )
        if Status.ERROR in status:
            raise error_of(device.register("error_code"), device.register("error_address"), done)
        if Status.ABORTED in status:
            raise AbortedError(f"aborted after {done} complete layers")
        if self._layers < self.length or done < len(steps):
            raise StaleChainError(
                f"the machine is idle after {len(self.results)} of {self.length} layers: it was "
                "reset, or another host uses it, or a descriptor was overwritten"
            )

    def _collect(self, step: "_Step") -> None:
        """Collect what a descriptor gave; of a layer's last one, the layer's result."""
        layer, fields, d = step.layer, step.fields, step.layer.q.codes.shape[2]
        sizes = {name: size for name, size, _ in region_sizes(fields, d)}

        def array(name: str, kind: str) -> np.ndarray | None:
            if name not in sizes:
                return None
            return np.frombuffer(self.device.bus.read(fields[name], sizes[name]), kind)

        output = array("output", "i1" if layer.options.output_bits == 8 else "<i2")
        if output is not None:
            first = step.piece.first_head if isinstance(step.piece, Segment) else 0
            self._parts.setdefault(first, []).append(
                step.piece.query_heads(output, fields["heads"])
            )
        if not step.ends:
            return
        # Heads one after the other, of each its queries.
        whole = np.concatenate([np.concatenate(part, axis=1) for part in self._parts.values()])
        self._parts = {}
        ids, ranks = array("ids", "<u2"), step.piece is layer
        kept = (layer.k0 - layer.k1, layer.k1) if ranks else (0, 0)
        heads = self.results[-1].kept_heads if layer.heads_chained else None
        unit, ranks_of_heads = layer.output_unit(), array("head_report", "<u4")
        self.results.append(
            Result(
                whole,
                unit if heads is None else unit[heads],
                None if ids is None else ids.astype(np.int64),
                np.repeat(np.array([4, 8], np.uint8), kept),
                array("importance", "<u4"),
                heads,
                *read_report(ranks_of_heads, layer.keep_heads),
            )
        )


@dataclass(frozen=True)
class _Step:
    """A descriptor: of a layer, or of a piece of it, the layer's last one or not."""

    layer: Block
    piece: Block
    fields: Mapping[str, int]
    ends: bool
