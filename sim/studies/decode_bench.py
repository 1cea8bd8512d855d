"""Benchmark of decode steps: how well they use the bus, by model, length and precision."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import ReadStream, SystemConfig
from dtqatten.driver.calls import Call
from dtqatten.driver.device import Device
from dtqatten.driver.expected import compare_results, expected
from dtqatten.golden.memory import ideal_bytes
from dtqatten.golden.numerics.codes import Codes
from dtqatten.golden.numerics.tokens import TokenList
from dtqatten.sim.machine.axi import SimulatedBus, simulated_device

__all__ = ["BUS_BITS", "SHAPES", "SHARES", "Shape", "decode_step", "measure_decode", "measure_step"]

BUS_BITS = (128, 256)
LATENCY = 60


@dataclass(frozen=True)
class Shape:
    """A model's attention: ``kv_heads`` heads of K and V of ``group`` query heads, ``d`` channels.

    ``run``: heads of K and V that are simulated, of one of the ``layers``; the others would do the
    same.
    """

    layers: int
    kv_heads: int
    group: int
    d: int
    run: int

    def tokens_per_gb(self, bytes_per_key: float, keys: int) -> float:
        """Tokens a second per GB/s of the bus, if a key takes so many bytes of it a K/V head."""
        return 1e9 / (self.layers * self.kv_heads * keys * bytes_per_key)


SHAPES = {
    "SmolLM2": Shape(30, 3, 3, 64, 3),
    "Llama-3.2-1B": Shape(16, 8, 4, 64, 4),
    "7B": Shape(32, 32, 1, 128, 4),
}
#: Share of the keys that have 8 bits.
SHARES = {"4 bit": 0.0, "74 / 26": 0.26, "8 bit": 1.0}


def decode_step(shape: Shape, tokens: int, share: float) -> Call:
    """Return a decode step on so many tokens, of which a share has 8 bits, at random places."""
    rng = np.random.default_rng(0)
    wide = np.sort(rng.permutation(tokens)[: round(share * tokens)])
    four = np.setdiff1d(np.arange(tokens), wide)

    def codes(heads: int, many: int) -> Codes:
        values = rng.integers(-120, 120, (heads, many, shape.d)).astype(np.int8)
        return Codes(values, np.full(heads, 1e-3))

    return Call(
        q=codes(shape.run * shape.group, 1),
        k=codes(shape.run, tokens),
        v=codes(shape.run, tokens),
        queries=TokenList(np.array([tokens - 1])),
        keys=TokenList(np.concatenate([four, wide]), len(four)),
        causal=True,
        grouped=shape.group > 1,
    )


def measure_step(system: SystemConfig, device: Device, shape: Shape, call: Call) -> dict[str, Any]:
    """Run a decode step, bit-exact to the golden model.

    ``bus_busy``: words read over the cycles from the first word of Q, K or V to the
    acknowledgement of the last write. ``tail``: cycles from the last request to that, in which the
    last head is computed. ``bytes_ratio``: bytes read over ``d/2`` of each 4-bit and ``d`` of each
    8-bit token of Q, K and V. ``cycles_per_token``: those cycles over keys and heads of K and V.
    ``tokens_per_s_per_gb_s``: for the attention of the whole model, beside what dense 8 and 16
    bits have at the bus's limit.

    Parameters
    ----------
    system : SystemConfig
    device : Device
    shape : Shape
    call : Call
        Of :func:`decode_step`.

    Raises
    ------
    AssertionError
        If a result differs.
    """
    bus = device.bus
    assert isinstance(bus, SimulatedBus)
    bus.configure(latency=(LATENCY, LATENCY))
    bus.record()
    before = bus.counters.beats_read
    compare_results([call], device.run([call]), expected(system.core, [call]))
    reads = bus.reads()
    ((_, fields),) = device.chain
    tensors = [s for s in ReadStream if ReadStream.Q_HIGH <= s <= ReadStream.V_LOW]
    asked = [bus.read_cycles(s) for s in tensors if reads[s]]
    first = min(cycle[0] for cycle in asked) + LATENCY
    cycles = bus.interrupted - first
    apart = (ReadStream.DESCRIPTOR, ReadStream.HEAD_TABLE, ReadStream.LISTS)
    beats = bus.counters.beats_read - before
    beats -= sum(burst.beats for stream in apart for burst in reads[stream])
    size = sum(burst.size for bursts in reads.values() for burst in bursts)
    assert call.keys is not None
    keys = len(call.keys)
    each = cycles / keys / call.kv_heads
    return {
        "cycles": cycles,
        "bus_busy": beats / cycles,
        "tail": bus.interrupted - max(cycle[-1] for cycle in asked),
        "bytes_ratio": size / ideal_bytes(system, fields),
        "cycles_per_token": each,
        "tokens_per_s_per_gb_s": shape.tokens_per_gb(each * system.bus_bytes, keys),
        "dense_8_bit": shape.tokens_per_gb(2 * shape.d, keys),
        "dense_16_bit": shape.tokens_per_gb(4 * shape.d, keys),
    }


def measure_decode(
    config: Config,
    tell: Callable[[str], object],
    *,
    lengths: Sequence[int] = (512, 1024),
    shapes: Sequence[str] = tuple(SHAPES),
    buses: Sequence[int] = BUS_BITS,
    optimize: int = 1,
) -> dict[str, Any]:
    """Measure decode steps of every model, length and share on every bus.

    A machine's ``n_max`` is the largest of the lengths, so that no call takes segments.

    Parameters
    ----------
    config : Config
        Arrays of the machine; heads, channels and tokens are those of the shapes.
    tell : callable
        Hears what is done.
    lengths : sequence of int
        Tokens of the cache, up to 1024.
    shapes : sequence of str
        Of :data:`SHAPES`.
    buses : sequence of int
        Bits.
    optimize : int
        As of :func:`dtqatten.sim.engines.compiler.compiled`.
    """
    result: dict[str, Any] = {"config": str(config), "latency": LATENCY, "steps": []}
    for d in sorted({SHAPES[name].d for name in shapes}):
        for bits in buses:
            core = config.replace(
                d_head=d, n_max=max(lengths), grouped=True, heads=32, load_bits=bits
            )
            system = SystemConfig(core=core, bus_bits=bits)
            tell(f"compiling, {bits} bits, {d} channels")
            device = simulated_device(system, size=1 << 24, timeout=40_000_000, optimize=optimize)
            for name in (each for each in shapes if SHAPES[each].d == d):
                for tokens in lengths:
                    for share, wide in SHARES.items():
                        tell(f"{name}, {tokens} tokens, {share}, {bits} bits")
                        call = decode_step(SHAPES[name], tokens, wide)
                        step = {"model": name, "tokens": tokens, "share": share, "bus_bits": bits}
                        result["steps"].append(
                            step | measure_step(system, device, SHAPES[name], call)
                        )
    return result
