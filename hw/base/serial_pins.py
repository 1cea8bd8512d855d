"""Five pins for any block: shift registers stand in for its ports."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.export import flat_ports

__all__ = ["SerialPins"]


class SerialPins(wiring.Component):
    """A block whose inputs come from one pin and whose outputs go to one.

    Blocks have more ports than an FPGA has pins. Here ``serial_in`` shifts through a register with
    a bit for each bit of the inputs, which it drives; a register takes the outputs and shifts them
    to ``serial_out``. So tools place and time all of the block, between registers, and remove
    nothing.

    Latency: a bit of ``serial_in`` is at bit ``i`` of the inputs after ``i + 1`` cycles. With
    ``capture`` the outputs are taken as they are in that cycle; bit ``i`` of them is at
    ``serial_out`` ``i + 1`` cycles later. Throughput one bit each way in a cycle; never stalls.

    Parameters
    ----------
    block : Component
        Its ports in their order are the bits, lowest first; it has at least one output.

    Members
    -------
    serial_in : In(1)
    capture : In(1)
        Take the outputs, in place of a shift.
    serial_out : Out(1)
    """

    def __init__(self, block: wiring.Component) -> None:
        self.block = block
        super().__init__({"serial_in": In(1), "capture": In(1), "serial_out": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.block = self.block
        inputs: list[Value] = []
        outputs: list[Value] = []
        for _, flow, value in flat_ports(self.block.signature, self.block):
            (inputs if flow is In else outputs).append(value)
        taken = Signal(len(Cat(outputs)))
        m.d.sync += taken.eq(Mux(self.capture, Cat(outputs), taken >> 1))
        m.d.comb += self.serial_out.eq(taken[0])
        if inputs:
            given = Signal(len(Cat(inputs)))
            m.d.sync += given.eq(Cat(self.serial_in, given))
            m.d.comb += Cat(inputs).eq(given)
        return m
