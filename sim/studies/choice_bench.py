"""Decode steps whose row blocks choose which values they multiply, or read at all."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.driver.calls import Call
from dtqatten.golden.numerics.local_values import SHARE_ALL
from dtqatten.hw.system import System
from dtqatten.sim.engines.exported import exported
from dtqatten.sim.machine.axi import simulated_device
from dtqatten.sim.studies.decode_bench import (
    BUS_BITS,
    SHAPES,
    SHARES,
    decode_step,
    machine,
    measure_step,
)

__all__ = ["WAYS", "choosing_machine", "choosing_step", "measure_choices"]

#: Keys of a step: those of a segment, as V comes after the choice of whole rows alone.
KEYS = 512

#: How a step treats values, by whether its share counts, and whether they come after the choice.
WAYS = {"all": (False, False), "multiplied": (True, False), "read": (True, True)}


def choosing_machine(config: Config, d: int, bits: int) -> SystemConfig:
    """Return :func:`~dtqatten.sim.studies.decode_bench.machine` where row blocks choose.

    Parameters
    ----------
    config : Config
        Its arrays.
    d, bits : int
        Channels of a head, bits of the bus.
    """
    system = machine(config, d, bits)
    chosen = dict.fromkeys(("skip_tiles", "local_values", "chosen_values"), True)
    return replace(system, core=system.core.replace(merge_rows=0, **chosen))


def choosing_step(call: Call, way: str, share: int) -> Call:
    """Return a step that treats values in one of the :data:`WAYS`, with a share in 1/256."""
    counts, comes_late = WAYS[way]
    options = replace(call.options, value_share=share) if counts else call.options
    return replace(call, options=options, chosen_values=comes_late)


def measure_choices(
    config: Config,
    tell: Callable[[str], object],
    value_share: float,
    *,
    shapes: Sequence[str] = tuple(SHAPES),
    shares: Sequence[str] = tuple(SHARES),
    buses: Sequence[int] = BUS_BITS,
    known: Sequence[dict[str, Any]] = (),
    keep: Callable[[list[dict[str, Any]]], object] = lambda _: None,
    keys: int = KEYS,
    optimize: int = 1,
) -> list[dict[str, Any]]:
    """Measure steps of models in each of the :data:`WAYS`, bit-exact.

    Parameters
    ----------
    config : Config
        Arrays of the machine.
    tell : callable
        Hears what is done.
    value_share : float
        Share of the groups of keys whose V is multiplied, rounded to 256ths.
    shapes, shares : sequence of str
        Of :data:`~dtqatten.sim.studies.decode_bench.SHAPES` and ``SHARES``.
    buses : sequence of int
        Bits.
    known : sequence of dict
        Steps that have been measured. Those of machines that are asked for, and are still the same,
        are taken over, and so are all others.
    keep : callable
        Gets all that is measured so far, after every step.
    keys : int
        Of the cache, at most ``n_max``.
    optimize : int
        As of :func:`dtqatten.sim.engines.compiler.compiled`.

    Returns
    -------
    list of dict
        What :func:`~dtqatten.sim.studies.decode_bench.measure_step` says of each.
    """
    share = round(value_share * SHARE_ALL)
    asked = {(bits, SHAPES[name].d) for bits in buses for name in shapes}
    steps = [s for s in known if (s["bus_bits"], s["channels"]) not in asked]
    for bits in buses:
        for d in sorted({SHAPES[name].d for name in shapes}):
            system = choosing_machine(config.replace(n_max=max(config.n_max, keys)), d, bits)
            tell(f"writing the machine, {bits} bits, {d} channels")
            design = hashlib.sha256(exported("system", System, system).encode()).hexdigest()[:16]
            of = {"bus_bits": bits, "channels": d, "machine": design}
            old = [s for s in known if of.items() <= s.items()]
            steps += old
            device = None
            for name in (name for name in shapes if SHAPES[name].d == d):
                for wide in shares:
                    for way in WAYS:
                        row = {"model": name, "tokens": keys, "share": wide, "way": way} | of
                        row["value_share"] = share / SHARE_ALL
                        if any(row.items() <= s.items() for s in old):
                            continue
                        if device is None:
                            tell(f"compiling, {bits} bits, {d} channels")
                            device = simulated_device(
                                system, size=1 << 24, timeout=40_000_000, optimize=optimize
                            )
                        tell(f"{name}, {wide}, {way}, {bits} bits")
                        call = decode_step(SHAPES[name], keys, SHARES[wide])
                        call = choosing_step(call, way, share)
                        steps.append(row | measure_step(system, device, SHAPES[name], call))
                        keep(steps)
    return steps
