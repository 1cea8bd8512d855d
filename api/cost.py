"""What a layer takes: counted by a machine, or predicted by the cycle model."""

from collections.abc import Mapping
from dataclasses import dataclass

from dtqatten.configuration.system import SystemConfig
from dtqatten.driver.device import Device
from dtqatten.driver.expected import Expected
from dtqatten.driver.layers import Layer
from dtqatten.golden.cycles.core_run import CoreRun
from dtqatten.golden.cycles.layers import CoreLayer
from dtqatten.golden.memory import layer_reads
from dtqatten.golden.numerics.order import alternate, boundaries
from dtqatten.interface.descriptor import PAGE_BYTES, SIZE
from dtqatten.interface.regions import region_sizes
from dtqatten.interface.units import Unit

__all__ = ["Cost", "counted_cost", "predicted_cost"]


@dataclass(frozen=True)
class Cost:
    """What a layer takes.

    Attributes
    ----------
    cycles : int
        Of the core alone, every operand there in time, if ``backend`` is golden; of the machine on
        its bus, from START or RESUME to the last write, if it is rtl.
    busy : dict of int
        Cycles in which each unit of the core worked.
    read_bytes, written_bytes : int
        What goes over the bus, descriptor included. The machine counts what it reads to see
        whether the next descriptor is ready, too.
    """

    cycles: int
    busy: Mapping[str, int]
    read_bytes: int
    written_bytes: int


def counted_cost(device: Device) -> Cost:
    """Return what a device's counters say."""
    busy = {str(unit): device.register(f"{unit}_busy") for unit in Unit}
    read, written = device.register("read_bytes"), device.register("write_bytes")
    return Cost(device.register("cycles"), busy, read, written)


def predicted_cost(system: SystemConfig, layer: Layer, golden: Expected) -> Cost:
    """Return the cycles of the core by its cycle model, and the bytes that its bursts move.

    Parameters
    ----------
    system : SystemConfig
    layer : Layer
    golden : Expected
        What the golden model makes of it.
    """
    core, inputs, tokens = system.core, golden.inputs, len(golden.rows)
    queries = alternate(
        boundaries(golden.four_bit, tokens, core.rows, core.cols, core.group).q, tokens, core.rows
    )
    assert inputs.q_bits is not None
    assert inputs.k_bits is not None
    assert inputs.v_bits is not None
    run = CoreRun(
        core,
        [
            CoreLayer(
                q=inputs.q.take(queries),
                k=inputs.k,
                v=inputs.v,
                q_bits=inputs.q_bits[queries],
                k_bits=inputs.k_bits,
                v_bits=inputs.v_bits,
                q_ids=golden.positions[queries],
                k_ids=golden.positions,
                key_bias=inputs.key_bias,
                biased=layer.key_bias is not None,
                causal=layer.causal,
                options=golden.options,
                k0=layer.k0,
                k1=layer.k1,
                report=layer.report,
                cumulative=layer.cumulative,
                fresh=True,
            )
        ],
    )
    while not run.done:
        run.clock()
    # Addresses decide on bursts, not on bytes: any that are aligned will do.
    fields = layer.fields(tokens)
    regions = list(region_sizes(fields, core.d_head))
    at = SIZE
    for name, size, _ in regions:
        fields[name] = at
        at += -(-size // PAGE_BYTES) * PAGE_BYTES
    streams = layer_reads(system, 0, fields, golden.rows, golden.four_bit)
    read = sum(burst.size for bursts in streams.values() for burst in bursts)
    written = sum(size for _, size, is_written in regions if is_written)
    busy = {str(unit): run.model.busy[unit] for unit in Unit}
    return Cost(run.model.cycle, busy, read, written)
