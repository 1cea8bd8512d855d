"""Cycles of the blocks of generation: runs of places, rows of groups, protected keys."""

from collections.abc import Iterator

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import runs
from dtqatten.golden.numerics.select import protected
from dtqatten.hw.memory.run_table import place_run_layout
from dtqatten.hw.memory.writer import results_layout
from dtqatten.sim.engines.bench import noise
from dtqatten.sim.engines.ports import pack_payload
from dtqatten.sim.lockstep.script import Cycle

__all__ = ["group_row_cycles", "protection_cycles", "random_places", "run_table_cycles"]


def random_places(rng: np.random.Generator, most: int, below: int) -> tuple[list[int], int]:
    """Return places of a list, 4-bit class first, some next to each other; how many are in it."""
    count = (1, most, int(rng.integers(1, most + 1)))[int(rng.integers(3))]
    first = int(rng.integers(below - count + 1))
    drawn = np.arange(first, first + count) if rng.random() < 0.3 else rng.permutation(below)
    drawn = drawn[:count]
    four_bit = int(rng.integers(count + 1))
    return [*np.sort(drawn[:four_bit]).tolist(), *np.sort(drawn[four_bit:]).tolist()], four_bit


def run_table_cycles(
    config: Config, readers: int, rng: np.random.Generator, layers: int, stall: float
) -> Iterator[Cycle]:
    """Yield cycles of :class:`~dtqatten.hw.memory.run_table.RunTable`: layers written and read.

    Parameters
    ----------
    config : Config
    readers : int
    rng : Generator
    layers : int
    stall : float
        Probability that no place comes, that a reader does not ask.
    """
    layout = place_run_layout(config)
    current: list[tuple[int, int]] = []
    asked: dict[int, int] = {}
    # Whose turn it is; those after the last one who had it; the runs of this cycle and the next.
    granted = after = 0
    coming: list[tuple[int, int] | None] = [None, None]

    def cycle(*, wanting: bool = True, **inputs: int) -> Cycle:
        """Return a cycle in which readers want runs of the current layer, one of which gets it."""
        nonlocal granted, after
        for reader in range(readers if current and wanting else 0):
            if reader not in asked and rng.random() >= stall:
                asked[reader] = int(rng.integers(len(current)))
        asking = sum(1 << reader for reader in asked)
        expected = {"count": len(current), "granted": granted}
        if (shown := coming.pop(0)) is not None:
            expected["run"] = pack_payload(layout, {"first": shown[0], "tokens": shown[1]})
        inputs |= {"asked": asking}
        inputs |= {f"index__{reader}": number for reader, number in asked.items()}
        # A reader that asked in the cycle before only lets its turn pass.
        number = asked.pop(granted.bit_length() - 1, None)
        coming.append(None if number is None else current[number])
        # The next turn is that of one who asks now, round robin.
        after = -2 * granted if granted else after
        first = asking & after or asking
        granted = first & -first
        return inputs, expected

    for _ in range(layers):
        places, _ = random_places(rng, config.n_max, config.positions)
        # Some places that come to nothing: slot 0 comes again.
        for slot, place in [*enumerate(places[: rng.integers(3)]), *enumerate(places)]:
            while rng.random() < stall:
                yield cycle(place=noise(rng, config.position_bits))
            yield cycle(write=1, place=place, first=int(slot == 0))
        late = bool(rng.random() < 0.5)
        if late:
            yield cycle(ends=1)
        # Whoever has asked gets it before the layers change.
        while asked:
            yield cycle(wanting=False)
        yield cycle(wanting=False, swap=1, ends=int(not late))
        current = runs(places)
    for _ in range(8):
        yield cycle()


def group_row_cycles(
    config: Config, rng: np.random.Generator, layers: int, stall: float
) -> Iterator[Cycle]:
    """Yield cycles of :class:`~dtqatten.hw.memory.group_rows.GroupRows`, layer by layer.

    Parameters
    ----------
    config : Config
    rng : Generator
    layers : int
    stall : float
        Probability that a head waits.
    """
    for _ in range(layers):
        group = int(rng.integers(1, config.heads + 1))
        queries = int(rng.integers(1, 3 * config.n_max // group + 2))
        four_bit = (0, queries, int(rng.integers(queries + 1)))[int(rng.integers(3))]
        given = {"queries": queries, "four_bit": four_bit}
        yield {"start": 1, **given}, {"done": 0}
        for head in range(group):
            rows = {"over": int(queries * head > config.n_max)}
            while rng.random() < stall:
                yield dict(given), {"done": 0, **rows}
            yield {"step": 1, **given}, {"done": 0, **rows}
        # The class boundary falls to one between row blocks, a query a cycle.
        for edge in range(four_bit, -1, -1):
            done = edge == queries or edge * group % config.rows == 0
            expected = {"done": int(done), "over": int(queries * group > config.n_max)}
            if done and not expected["over"]:
                expected |= {"group": group, "rows": queries * group, "edge": edge}
                expected |= {"row_four_bit": edge * group}
            yield {"finish": 1, **given}, expected
            if done:
                break


def protection_cycles(
    system: SystemConfig, rng: np.random.Generator, layers: int, stall: float
) -> Iterator[Cycle]:
    """Yield cycles of :class:`~dtqatten.hw.memory.held_importance.Protection`.

    Parameters
    ----------
    system : SystemConfig
    rng : Generator
    layers : int
    stall : float
        Probability that a place is not granted, that a key is not taken.
    """
    core, layout = system.core, results_layout(system)
    for _ in range(layers):
        ids, four_bit = random_places(rng, core.n_max, core.positions)
        listed = bool(rng.random() < 0.7)
        ids = ids if listed else list(range(len(ids)))
        first, last = (int(rng.choice([0, 1, 5, core.positions, 65535])) for _ in range(2))
        fields = {"listed": listed, "tokens": len(ids), "four_bit": four_bit}
        fields |= {"protect_first": first, "protect_last": last}
        layer = layout.const(fields).as_bits()
        marks = protected(np.array(ids), first=first, last=last).tolist()

        def shown(idle: int = 0, valid: int = 0, **more: int) -> dict[str, int]:
            return {"idle": idle, "valid": valid, "asked": 0, **more}

        def look_up(slot: int, layer: int = layer, ids: list[int] = ids) -> Iterator[Cycle]:
            """Yield the cycles in which a slot is asked for, and that of its place."""
            asking = shown(asked=1, index=slot)
            while rng.random() < stall:
                yield {"layer": layer, "entry": noise(rng, core.position_bits)}, asking
            yield {"layer": layer, "granted": 1}, asking
            yield {"layer": layer, "entry": ids[slot]}, shown()

        yield {"layer": layer, "start": 1}, shown(idle=1)
        if listed:
            yield from look_up(len(ids) - 1)
            if 0 < four_bit < len(ids):
                yield from look_up(four_bit - 1)
        else:
            yield {"layer": layer}, shown()
        for slot, mark in enumerate(marks):
            if listed:
                yield from look_up(slot)
            else:
                yield {"layer": layer}, shown()
            while rng.random() < stall:
                yield {"layer": layer}, shown(valid=1, safe=int(mark))
            yield {"layer": layer, "next": 1}, shown(valid=1, safe=int(mark))
        # It is ready for the next layer, whose fields are its own.
        for _ in range(2):
            yield {"layer": layer}, shown(idle=1)
