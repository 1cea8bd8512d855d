"""Decode steps whose row blocks choose which values they multiply, or read at all."""

from dataclasses import replace
from typing import Any

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.driver.calls import Call
from dtqatten.sim.machine.axi import simulated_device
from dtqatten.sim.studies.decode_bench import SHAPES, decode_step, machine, measure_step

__all__ = ["WAYS", "choosing_machine", "choosing_step", "measure_choice"]

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


def measure_choice(
    config: Config, model: str, bits: int, *, keys: int = 512, share: int = 90, optimize: int = 1
) -> list[dict[str, Any]]:
    """Measure a decode step of a model in each of the :data:`WAYS`, bit-exact.

    Parameters
    ----------
    config : Config
        Arrays of the machine, and keys of a segment.
    model : str
        Of :data:`~dtqatten.sim.studies.decode_bench.SHAPES`.
    bits : int
        Of the bus.
    keys : int
        At most ``n_max``.
    share : int
        Groups of keys whose values are multiplied, in 1/256.
    optimize : int
        As of :func:`dtqatten.sim.engines.compiler.compiled`.

    Returns
    -------
    list of dict
        What :func:`~dtqatten.sim.studies.decode_bench.measure_step` says, by way and keys in 8
        bits; ``bytes`` that are read.
    """
    shape = SHAPES[model]
    system = choosing_machine(config, shape.d, bits)
    device = simulated_device(system, size=1 << 24, timeout=40_000_000, optimize=optimize)
    found = []
    for wide in (0.0, 0.25, 1.0):
        call = decode_step(shape, keys, wide)
        for way in WAYS:
            step = measure_step(system, device, shape, choosing_step(call, way, share))
            found.append({"model": model, "bus_bits": bits, "wide": wide, "way": way} | step)
    return found
