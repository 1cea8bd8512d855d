"""What wires make slow, made faster: buffers in heavy nets, other sizes on slow paths."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from dtqatten.synth.cells import BufferCell
from dtqatten.synth.place.drives import Drives
from dtqatten.synth.place.layout import Layout
from dtqatten.synth.place.steiner import Tree, steiner_trees
from dtqatten.synth.place.timing import SlowPath
from dtqatten.synth.place.wires import Wires, loads_of
from dtqatten.synth.scale import NANGATE45, Scale

__all__ = ["BUFFER_FF", "HEAVY_PS", "Repair"]

#: A net on which its driver's resistance takes more ps than this is split.
HEAVY_PS = 60.0

#: The same with what the wire takes itself: a buffer in its middle saves half of both and takes
#: 45 ps.
FAR_PS = 90.0

#: Most fF, pins and wire, behind a buffer that splits a net: of wire alone 0.45 mm.
BUFFER_FF = 48.0

#: Of trees that are split, see `steiner_trees`: short ones lead over more buffers than needed.
DIRECT = 0.3

#: ps that a change must win by the model to be made.
WORTH_PS = 1.0

#: ps that a shield must win: it slows what is behind it.
SHIELD_PS = 4.0

#: How much a change of an input's load off the path counts.
ASIDE = 0.25


class Repair:
    """Changes of a placed netlist; cells are moved to legal places afterwards.

    Parameters
    ----------
    layout : Layout
        Changed in place.
    wires : Wires
        Of the layout as it is.
    drives : Drives
    buffer : BufferCell
        Splits nets.
    frozen : collection of int
        Nets and their cells that stay: the clock's.
    scale : Scale
        Of the limits above.
    driver : str
        Cell before every input of the block.
    """

    def __init__(
        self,
        layout: Layout,
        wires: Wires,
        drives: Drives,
        buffer: BufferCell,
        frozen: Collection[int],
        scale: Scale = NANGATE45,
        *,
        driver: str,
    ) -> None:
        self._layout, self._wires, self._drives, self._buffer = layout, wires, drives, buffer
        self._frozen = set(frozen)
        self._scale = scale
        self._heavy_ps, self._far_ps = scale.time * HEAVY_PS, scale.time * FAR_PS
        self._buffer_ff = scale.load * BUFFER_FF
        self._netlist = layout.netlist
        self._driver = driver
        self._wire_ff = wires.loads.tolist()
        self._new: list[int] = []
        self._at: list[tuple[float, float]] = []

    def split_heavy_nets(self) -> int:
        """Insert buffers along the wires of nets too heavy for their driver; return how many.

        A net's load and its wire to the sink furthest away take their time from a driver of some
        resistance, which a port has from the cell before it. From the leaves of a tree without
        long detours toward the driver, a buffer drives what has gathered behind it before this
        exceeds :data:`BUFFER_FF`, on long edges too. What is split stays as it is in
        :meth:`speed_up`.
        """
        heavy = []
        for net, pins in enumerate(self._wires.points.pins):
            if net in self._frozen or len(pins) < 2:
                continue
            kind = self._driver_of(pins[0][0])
            if kind is None:
                continue
            drive = self._drives.cells[kind]
            load = self._load(net)
            slow = load * drive.resistance
            if (
                slow > self._heavy_ps
                or load > max(drive.limit, self._buffer_ff)
                or (
                    self._wire_ff[net] > self._buffer_ff
                    and slow + self._wire_ps(net) > self._far_ps
                )
            ):
                heavy.append(net)
        points = self._wires.points.points
        for net, tree in zip(
            heavy, steiner_trees([points[net] for net in heavy], DIRECT), strict=True
        ):
            before = len(self._new)
            self._split(net, tree)
            if len(self._new) > before:
                self._frozen.add(net)
        return self._finish()

    def speed_up(self, paths: Sequence[SlowPath], share: float) -> tuple[int, int]:
        """Resize cells on slow paths and shield their nets; return how many of either.

        A cell gets the size of its function at which the delay of its driver's resistance with
        its input, of its own with its load, and its own without, is least. Where sinks that are
        on no slow path load a net, a buffer drives these if that saves more than it costs. Of all
        such changes, the share that saves most is made, over all paths through a cell.
        """
        through = Counter(cell for path in paths for cell in path.cells)
        before: dict[int, int] = {}
        for path in paths:
            for one, other in zip(path.cells, path.cells[1:], strict=False):
                before.setdefault(other, one)
        moves = []
        for cell, times in through.items():
            gain, kind = self._better_size(cell, before.get(cell))
            if gain > self._scale.time * WORTH_PS:
                moves.append((gain * times, cell, kind, -1))
            for net, gain in self._shields(cell, through):
                moves.append((gain * times, cell, "", net))
        moves.sort(key=lambda move: (-move[0], move[1:]))
        chosen = moves[: max(1, round(share * len(moves)))]
        for _, cell, kind, net in chosen:
            if kind:
                self._netlist.kinds[cell] = kind
            else:
                aside = self._aside(net, through)
                at = self._wires.trees[net].at[[point for _, point in aside]]
                self._insert(net, [pin for pin, _ in aside], np.median(at, axis=0))
        shields = self._finish()
        return len(chosen) - shields, shields

    def _pin_ff(self, pin: int) -> float:
        """Return the load of an input pin, or of a port."""
        if pin < 0:
            return 5.0
        loads = self._drives.cells[self._netlist.kinds[self._netlist.pin_cell[pin]]].loads
        return loads.get(self._netlist.pin_name[pin].partition("[")[0], 0.0)

    def _outputs(self, cell: int) -> list[int]:
        netlist = self._netlist
        return [pin for pin in netlist.pins(cell) if netlist.pin_drives[pin]]

    def _load(self, net: int) -> float:
        """Return what a net's driver drives."""
        pins = self._wires.points.pins[net]
        return self._wire_ff[net] + sum(self._pin_ff(pin) for pin, _ in pins[1:])

    def _driver_of(self, source: int) -> str | None:
        """Return the cell that drives a net from a pin or an input port; None without one."""
        netlist = self._netlist
        if source < 0:
            return self._driver if netlist.ports[-1 - source][1] else None
        return netlist.kinds[netlist.pin_cell[source]] if netlist.pin_drives[source] else None

    def _wire_ps(self, net: int) -> float:
        """Return Elmore's delay of a net's wire to the sink furthest away."""
        tree, wire = self._wires.trees[net], self._wires.kind[net]
        lengths, parents = tree.lengths.tolist(), tree.parent.tolist()
        load = loads_of(lengths, parents, wire.ff)
        for pin, point in self._wires.points.pins[net][1:]:
            load[point] += self._pin_ff(pin)
        order, _ = tree.downward()
        for node in reversed(order[1:]):
            load[parents[node]] += load[node]
        delay = dict.fromkeys(order[:1], 0.0)
        for node in order[1:]:
            delay[node] = delay[parents[node]] + wire.ohm * lengths[node] * load[node] / 1000
        return max(delay.values())

    def _better_size(self, cell: int, driver: int | None) -> tuple[float, str]:
        """Return what the best size of a cell saves, in ps, and that size."""
        netlist, drives = self._netlist, self._drives
        kind = netlist.kinds[cell]
        if any(netlist.pin_net[pin] in self._frozen for pin in self._outputs(cell)):
            return 0.0, kind
        choices = [k for k in drives.sizes(kind) if k in self._layout.outlines]
        load = max((self._load(netlist.pin_net[pin]) for pin in self._outputs(cell)), default=0.0)
        upstream, from_driver = 0.0, set()
        if driver is not None:
            upstream = drives.cells[netlist.kinds[driver]].resistance
            nets = {netlist.pin_net[pin] for pin in self._outputs(driver)}
            from_driver = {
                netlist.pin_name[pin] for pin in netlist.pins(cell) if netlist.pin_net[pin] in nets
            }

        def delay(name: str) -> float:
            drive = drives.cells[name]
            inputs = sum(
                ff * (1.0 if pin in from_driver else ASIDE)
                for pin, ff in drive.loads.items()
                if pin not in drive.clocks
            )
            return upstream * inputs + drive.resistance * load + drive.delay

        best = min(choices, key=lambda name: (delay(name), name), default=kind)
        return delay(kind) - delay(best), best

    def _aside(self, net: int, slow: Collection[int]) -> list[tuple[int, int]]:
        """Return the sinks of a net, with their points, that are no cells on a slow path."""
        of = self._netlist.pin_cell
        pins = self._wires.points.pins[net][1:]
        return [(pin, point) for pin, point in pins if pin >= 0 and of[pin] not in slow]

    def _shields(self, cell: int, slow: Collection[int]) -> Iterator[tuple[int, float]]:
        """Yield the nets of a cell that are worth a shield, and what it saves, in ps."""
        netlist, drives = self._netlist, self._drives
        for output in self._outputs(cell):
            net = netlist.pin_net[output]
            if net in self._frozen:
                continue
            aside = self._aside(net, slow)
            if not aside or len(aside) == len(self._wires.points.pins[net]) - 1:
                continue
            saved = sum(self._pin_ff(pin) for pin, _ in aside)
            saved -= drives.cells[self._buffer.cell].loads[self._buffer.input]
            gain = saved * drives.cells[netlist.kinds[cell]].resistance
            if gain > self._scale.time * SHIELD_PS:
                yield net, gain

    def _split(self, net: int, tree: Tree) -> None:
        wire = self._wires.kind[net]
        pins: dict[int, list[int]] = {}
        for pin, point in self._wires.points.pins[net][1:]:
            pins.setdefault(point, []).append(pin)
        order, children = tree.downward()
        own = self._drives.cells[self._buffer.cell].loads[self._buffer.input]
        lengths = tree.lengths
        behind: dict[int, tuple[float, list[int]]] = {}
        for node in reversed(order):
            load, moved = 0.0, []
            for pin in pins.get(node, []):
                load += self._pin_ff(pin)
                moved.append(pin)
            for child in children.get(node, []):
                below, held = behind.pop(child)
                if load + below > self._buffer_ff and held:
                    below, held = own, [self._insert(net, held, tree.at[node])]
                load += below
                moved += held
            left = float(lengths[node])
            place = tree.at[node].copy()
            toward = tree.at[max(int(tree.parent[node]), 0)]
            while left and load + left * wire.ff > self._buffer_ff and node and moved:
                step = min(max((self._buffer_ff - load) / wire.ff, 0.0), left)
                place = along(place, toward, step)
                left -= step
                load, moved = own, [self._insert(net, moved, place)]
            behind[node] = load + left * wire.ff, moved

    def _insert(self, net: int, pins: list[int], at: np.ndarray) -> int:
        """Put a buffer before pins and output ports of a net; return its input."""
        netlist, layout = self._netlist, self._layout
        fresh = netlist.add_net()
        for pin in pins:
            if pin >= 0:
                netlist.pin_net[pin] = fresh
            else:
                name, is_input, _ = netlist.ports[-1 - pin]
                netlist.ports[-1 - pin] = (name, is_input, fresh)
        cell = netlist.add_cell(
            self._buffer.cell,
            f"repair/{len(netlist.kinds)}",
            [(self._buffer.input, False, net), (self._buffer.output, True, fresh)],
        )
        outline = layout.outlines[self._buffer.cell]
        size = np.array([outline.width, outline.height])
        room = np.array([layout.plan.width, layout.plan.height]) - size
        corner = np.clip(at - size / 2, 0, room)
        self._new.append(cell)
        self._at.append((float(corner[0]), float(corner[1])))
        return netlist.first[cell]

    def _finish(self) -> int:
        """Give new cells their places; return how many there are."""
        self._layout.move(self._new, self._at)
        count = len(self._new)
        self._new, self._at = [], []
        return count


def along(start: np.ndarray, end: np.ndarray, length: float) -> np.ndarray:
    """Return the point a length from ``start``, first in x, then in y."""
    dx, dy = end - start
    x = float(np.clip(dx, -length, length))
    rest = length - abs(x)
    return start + np.array([x, float(np.clip(dy, -rest, rest))])
