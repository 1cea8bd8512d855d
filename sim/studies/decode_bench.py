"""Benchmark of decode steps: how well they use the bus, by model, length and precision."""

import hashlib
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
from dtqatten.golden.numerics.segments import longest_first
from dtqatten.golden.numerics.tokens import TokenList
from dtqatten.hw.system import System
from dtqatten.sim.engines.exported import exported
from dtqatten.sim.machine.axi import SimulatedBus, simulated_device

__all__ = [
    "BUS_BITS",
    "LENGTHS",
    "SHAPES",
    "SHARES",
    "Shape",
    "decode_step",
    "machine",
    "measure_decode",
    "measure_step",
]

BUS_BITS = (128, 256)
LENGTHS = (512, 2048, 8192)
LATENCY = 60
#: Bursts of a stream's buffer: with bursts of 16 words at least the latency, a burst and the 3
#: cycles from a word to the room that it leaves, so that a stream alone keeps the bus busy.
BUFFER_BURSTS = 6
#: Layers of a chain, for the figure without a pause between layers.
CHAIN = 4


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
#: Share of the keys that have 8 bits. With 75 / 25 % both classes fill their tiles.
SHARES = {"4 bit": 0.0, "74 / 26": 0.26, "75 / 25": 0.25, "8 bit": 1.0}


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


def machine(config: Config, d: int, bits: int) -> SystemConfig:
    """Return the machine that a model's decode steps run on: the same for all lengths.

    Its streams are as wide as the bus, query heads fill rows together, and keys beyond ``n_max``
    come in segments.

    Parameters
    ----------
    config : Config
        Its arrays.
    d, bits : int
        Channels of a head, bits of the bus.
    """
    core = config.replace(
        d_head=d,
        grouped=True,
        heads=32,
        load_bits=bits,
        value_load_bits=bits,
        capacity=max(LENGTHS),
        merge_rows=32,
    )
    return SystemConfig(core=core, bus_bits=bits, buffer_bursts=BUFFER_BURSTS)


def measure_step(system: SystemConfig, device: Device, shape: Shape, call: Call) -> dict[str, Any]:
    """Run a decode step, bit-exact to the golden model.

    ``bus_busy``: words read over the cycles from the first word of Q, K or V to the
    acknowledgement of the last write. ``tail``: cycles from the last request to that.
    ``bytes_ratio``: bytes read over ``d/2`` of each 4-bit and ``d`` of each 8-bit token of Q, K and
    V. ``cycles_per_token``: those cycles over keys and heads of K and V. ``tokens_per_s_per_gb_s``:
    for the attention of the whole model, beside what dense 8 and 16 bits have at the bus's limit.

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
    bus = _run(system, device, [call])
    reads = bus.reads()
    asked = [bus.read_cycles(s) for s in TENSORS if reads[s]]
    size = sum(burst.size for bursts in reads.values() for burst in bursts)
    # Segments of a call have the same queries.
    ideal = sum(
        ideal_bytes(system, fields if number == 0 else dict(fields) | NO_QUERIES)
        for number, (_, fields) in enumerate(device.chain)
    )
    assert call.keys is not None
    keys, cycles = len(call.keys), _cycles(bus)
    each = cycles / keys / call.kv_heads
    return {
        "cycles": cycles,
        "bus_busy": _words(bus) / cycles,
        "tail": bus.interrupted - max(cycle[-1] for cycle in asked),
        "bytes_ratio": size / ideal,
        "cycles_per_token": each,
        "tokens_per_s_per_gb_s": shape.tokens_per_gb(each * system.bus_bytes, keys),
        "dense_8_bit": shape.tokens_per_gb(2 * shape.d, keys),
        "dense_16_bit": shape.tokens_per_gb(4 * shape.d, keys),
    }


def measure_chain(system: SystemConfig, device: Device, call: Call) -> float:
    """Return ``bus_busy`` of a chain of :data:`CHAIN` layers, each of the call.

    Parameters
    ----------
    system, device, call
        As of :func:`measure_step`.
    """
    bus = _run(system, device, [call] * CHAIN)
    return _words(bus) / _cycles(bus)


#: Streams whose words count.
TENSORS = [s for s in ReadStream if ReadStream.Q_HIGH <= s <= ReadStream.V_LOW]
NO_QUERIES = {"queries": 0, "query_four_bit": 0}


def _run(system: SystemConfig, device: Device, calls: list[Call]) -> SimulatedBus:
    """Run calls, compare them with the golden model, and return the bus, which has recorded."""
    bus = device.bus
    assert isinstance(bus, SimulatedBus)
    bus.configure(latency=(LATENCY, LATENCY))
    bus.record()
    compare_results(calls, device.run(calls), expected(system.core, calls))
    return bus


def _words(bus: SimulatedBus) -> int:
    """Words of Q, K and V that were read."""
    reads = bus.reads()
    return sum(burst.beats for stream in TENSORS for burst in reads[stream])


def _cycles(bus: SimulatedBus) -> int:
    """Cycles from the first word of Q, K or V to the acknowledgement of the last write."""
    first = min(cycles[0] for s in TENSORS if (cycles := bus.read_cycles(s)))
    return bus.interrupted - first - LATENCY


def measure_decode(
    config: Config,
    tell: Callable[[str], object],
    *,
    lengths: Sequence[int] = LENGTHS,
    shapes: Sequence[str] = tuple(SHAPES),
    buses: Sequence[int] = BUS_BITS,
    shares: Sequence[str] = tuple(SHARES),
    known: Sequence[dict[str, Any]] = (),
    keep: Callable[[dict[str, Any]], object] = lambda _: None,
    optimize: int = 1,
) -> dict[str, Any]:
    """Measure decode steps of every model, length and share on every bus.

    Parameters
    ----------
    config : Config
        Arrays of the machine, and keys of a segment; heads, channels and tokens are those of the
        shapes.
    tell : callable
        Hears what is done.
    lengths : sequence of int
        Tokens of the cache, up to the last of :data:`LENGTHS`. The first one is also measured in a
        chain of layers, ``bus_busy_chained``.
    shapes, shares : sequence of str
        Of :data:`SHAPES` and of :data:`SHARES`.
    buses : sequence of int
        Bits.
    known : sequence of dict
        Steps that have been measured; those of machines that are still the same, in the same order
        of segments, are taken over.
    keep : callable
        Gets all that is measured so far, after every step.
    optimize : int
        As of :func:`dtqatten.sim.engines.compiler.compiled`.
    """

    def design(bits: int, d: int) -> str:
        tell(f"writing the machine, {bits} bits, {d} channels")
        text = exported("system", System, machine(config, d, bits))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def order(tokens: int, share: str) -> list[int]:
        """Return the numbers of a step's segments, in the order in which they are computed."""
        eight_bit = round(SHARES[share] * tokens)
        return list(longest_first(tokens, tokens - eight_bit, config.n_max))

    steps = [
        s
        for s in known
        if s.get("machine") == design(s["bus_bits"], s["channels"])
        and s.get("segments") == order(s["tokens"], s["share"])
    ]
    result: dict[str, Any] = {"config": str(config), "latency": LATENCY, "steps": steps}
    for bits in buses:
        for d in sorted({SHAPES[name].d for name in shapes}):
            system = machine(config, d, bits)
            of: dict[str, Any] = {"bus_bits": bits, "channels": d, "machine": design(bits, d)}
            wanted: list[dict[str, Any]] = [
                {
                    "model": name,
                    "tokens": tokens,
                    "share": share,
                    "segments": order(tokens, share),
                    **of,
                }
                for name in shapes
                if SHAPES[name].d == d
                for tokens in lengths
                for share in shares
            ]
            wanted = [w for w in wanted if not any(w.items() <= s.items() for s in steps)]
            device = None
            for step in wanted:
                if device is None:
                    tell(f"compiling, {bits} bits, {d} channels")
                    device = simulated_device(
                        system, size=1 << 24, timeout=40_000_000, optimize=optimize
                    )
                shape = SHAPES[step["model"]]
                tell(f"{step['model']}, {step['tokens']} tokens, {step['share']}, {bits} bits")
                call = decode_step(shape, step["tokens"], SHARES[step["share"]])
                found = step | measure_step(system, device, shape, call)
                if step["tokens"] == lengths[0]:
                    found["bus_busy_chained"] = measure_chain(system, device, call)
                steps.append(found)
                keep(result)
    return result
