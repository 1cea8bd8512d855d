"""The controller: walks a chain of descriptors, starts layers, ends in order or in an error."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.read_channel import read_port
from dtqatten.hw.bus.window import window_layout
from dtqatten.hw.memory.address_check import AddressCheck
from dtqatten.hw.memory.chain_states import ChainStates
from dtqatten.hw.memory.checker import Checker
from dtqatten.hw.memory.descriptor import descriptor_layout
from dtqatten.hw.memory.descriptor_reader import DescriptorReader
from dtqatten.hw.memory.group_rows import rows_layout
from dtqatten.hw.memory.layer_commands import LayerCommands
from dtqatten.hw.memory.writer import results_layout
from dtqatten.hw.payloads.heads import heads_layout
from dtqatten.hw.payloads.ranking import layer_layout

__all__ = ["Controller"]


def heads_members(config: Config) -> dict[str, wiring.Member]:
    """Members for what ranks heads, where they can be pruned."""
    return {
        "ranked_layers": Out(stream.Signature(heads_layout(config))),
        "ranked": In(1),
        "kept": In(config.heads),
        "kept_heads": Out(config.heads),
    }


class Controller(wiring.Component):
    """Run a chain: read, check and start layer after layer.

    A descriptor is read while the layer before is still being computed, and so are the lists that
    it names, those of a chained layer once the ids that the layer before keeps have come; its layer
    starts as soon as the fetcher has nothing more to read and ids have come. So layers overlap.
    One whose heads are chosen by the layer before starts when these are ranked, after that layer's
    last output, unless all are kept.

    Of a descriptor the head comes first, alone: the rest is requested once ``ready`` has come as
    not 0. A host that writes ``ready`` last may therefore do so at any time. While ``ready`` is 0
    the chain waits for ``resume``, upon which the head is read again. A ``resume`` that finds no
    chain waiting is kept, until a head is not ready or another chain begins.

    An error in a descriptor, or in reading it, lets the layers before it end and then ends the
    chain; any other ``fault``, and ``abort``, end it at once. The masters stop issuing; when all
    that is on the bus has been answered, core, fetcher and writer are reset (``flush``) for as long
    as the core needs, and the chain has ended.

    Latency: 5 cycles from ``begin``, or a layer's ``start``, to the request of the next head, a
    word; 6 from it to the request of the whole descriptor, whose 32 words take a cycle each;
    ``repeats`` + 49 cycles from the last one to ``start``, if nothing else is waited for. So the
    first layer of a chain waits twice for the memory. ``stop`` in the cycle after a ``fault``;
    ``flush`` for ``flush_cycles`` from the cycle after ``drained`` on, ``ended`` with the last of
    them.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    begin, resume, abort : In(1)
        Commands, pulses.
    first : In(64)
        First descriptor.
    read_base, read_limit, write_base, write_limit : In(64)
        First and last byte that may be read, and written; constant while ``busy``.
    read_window, write_window : Out(window_layout(system))
        Their pages. A chain that begins with an end that is none of a page ends in an error.
    busy, waiting, failed, aborted : Out(1)
        Status.
    completed, ended, stopped : Out(1)
        Pulses: a layer is complete, the chain has ended, or waits.
    error_code, error_address : Out(8), Out(64)
        Of the last chain.
    current : Out(64)
        Descriptor that was read last.
    layers_done : Out(32)
        Complete layers of the chain.
    port
        Read port.
    ahead, next : Out(1), Out(descriptor_layout())
        The layer that starts next: its lists can be read.
    lists_read : In(1)
        They are read.
    unused : Out(1)
        No layer is on the ids of the one that was started last.
    start : Out(1)
        The fetcher begins with ``layer``, ``four_bit``, ``query_four_bit`` and ``repeats``; where
        query heads are grouped, also with ``rows`` of :func:`rows_layout`.
    fetched, ids_complete : In(1)
        The fetcher is idle; has the ids of the layer started last.
    results : Out(stream.Signature(results_layout(system)))
        Layers for the writer.
    layer_done, written : In(1)
        The writer has completed a layer; has none.
    layers : Out(stream.Signature(layer_layout(system.core)))
        Layers for the core.
    ranked_layers, ranked, kept
        Where heads can be pruned: layers for what ranks them; all that it has taken are ranked; the
        heads that the last one keeps. See :class:`~dtqatten.hw.ranking.head_pruning.HeadPruning`.
    kept_heads : Out(heads)
        Heads that the fetcher begins with, beside ``layer``.
    fault : In(8), fault_address : In(address_bits)
        ``ErrorCode`` of what a master or the fetcher reports; 0 is nothing.
    fault_ahead : In(1)
        It is about a descriptor: a read of ``port`` was answered with an error.
    stop : Out(1)
        Masters issue no burst.
    drained : In(1)
        Nothing is on the bus.
    flush : Out(1)
        Reset of core, fetcher, writer and of this block's own reader.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        super().__init__(
            {
                "begin": In(1),
                "resume": In(1),
                "abort": In(1),
                "first": In(64),
                "read_base": In(64),
                "read_limit": In(64),
                "write_base": In(64),
                "write_limit": In(64),
                "read_window": Out(window_layout(system)),
                "write_window": Out(window_layout(system)),
                "busy": Out(1),
                "waiting": Out(1),
                "failed": Out(1),
                "aborted": Out(1),
                "completed": Out(1),
                "ended": Out(1),
                "stopped": Out(1),
                "error_code": Out(8),
                "error_address": Out(64),
                "current": Out(64),
                "layers_done": Out(32),
                "port": Out(read_port(system)),
                "ahead": Out(1),
                "next": Out(descriptor_layout()),
                "lists_read": In(1),
                "unused": Out(1),
                "start": Out(1),
                "layer": Out(descriptor_layout()),
                "four_bit": Out(range(system.core.n_max + 1)),
                "query_four_bit": Out(range(system.core.n_max + 1)),
                "repeats": Out(16),
                "fetched": In(1),
                "ids_complete": In(1),
                "results": Out(stream.Signature(results_layout(system))),
                "layer_done": In(1),
                "written": In(1),
                "layers": Out(stream.Signature(layer_layout(system.core))),
                "fault": In(8),
                "fault_address": In(system.address_bits),
                "fault_ahead": In(1),
                "stop": Out(1),
                "drained": In(1),
                "flush": Out(1),
            }
            | ({"rows": Out(rows_layout(system.core))} if system.core.grouped else {})
            | (heads_members(system.core) if system.core.head_pruning else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system = self.system
        checker = place(m, platform, "checker", Checker, system, reset=self.flush)
        m.submodules.reader = reader = DescriptorReader(system)
        m.submodules.addresses = addresses = AddressCheck(system)
        m.submodules.commands = commands = LayerCommands(system)
        states = ChainStates(system, self, reader=reader, addresses=addresses, checker=checker)
        connect(m, reader.port, flipped(self.port))
        m.d.comb += [
            self.current.eq(states.address),
            self.next.eq(reader.descriptor),
            reader.address.eq(states.address),
            reader.whole.eq(states.whole),
            reader.flush.eq(self.flush),
            addresses.read_base.eq(self.read_base),
            addresses.read_limit.eq(self.read_limit),
            addresses.write_base.eq(self.write_base),
            addresses.write_limit.eq(self.write_limit),
            addresses.address.eq(states.address),
            self.read_window.eq(addresses.read_window),
            self.write_window.eq(addresses.write_window),
            checker.descriptor.eq(reader.descriptor),
            checker.address.eq(states.address),
            checker.before.eq(states.before),
            checker.read_window.eq(self.read_window),
            checker.write_window.eq(self.write_window),
            commands.layer.eq(self.layer),
            commands.query_four_bit.eq(self.query_four_bit),
            *([commands.rows.eq(self.rows)] if system.core.grouped else []),
            self.results.p.eq(commands.for_writer),
            self.results.valid.eq(states.given_writer),
            self.layers.p.eq(commands.for_core),
            self.layers.valid.eq(states.given_core),
        ]
        if system.core.head_pruning:
            m.d.comb += [
                self.ranked_layers.p.eq(commands.for_heads),
                self.ranked_layers.valid.eq(states.given_heads),
            ]
            with m.If(self.ranked_layers.ready):
                m.d.sync += states.given_heads.eq(0)
        with m.If(self.results.ready):
            m.d.sync += states.given_writer.eq(0)
        with m.If(self.layers.ready):
            m.d.sync += states.given_core.eq(0)
        # A layer whose last acknowledgement is an error is not complete.
        m.d.comb += self.completed.eq(self.layer_done & ~self.stop)
        with m.If(self.completed):
            m.d.sync += self.layers_done.eq(self.layers_done + 1)
        states.add(m)
        return m
