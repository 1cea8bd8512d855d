"""A chain on the machine's bus: accesses to registers, memory before and after."""

from dataclasses import dataclass

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.driver.device import Arena, Device
from dtqatten.driver.expected import Expected, compare_results, expected
from dtqatten.driver.layers import Layer
from dtqatten.golden.numerics.attention import Options
from dtqatten.golden.numerics.codes import quantize
from dtqatten.integration.golden_bus import Access, GoldenBus
from dtqatten.interface.descriptor import PAGE_BYTES

__all__ = ["ChainVectors", "chain_vectors"]


@dataclass(frozen=True)
class ChainVectors:
    """What a host does, and what becomes of memory.

    Parameters
    ----------
    base : int
        Address of the first byte.
    accesses : tuple of Access
        Until the chain is started.
    layers_done : int
        Descriptors that are complete at the end.
    before, after : bytes
        All memory; what nobody writes stays.
    """

    base: int
    accesses: tuple[Access, ...]
    layers_done: int
    before: bytes
    after: bytes


def two_layers(config: Config, seed: int) -> list[Layer]:
    """Return a layer, and one on the tokens that it keeps, with all that both report."""
    rng = np.random.default_rng(seed)
    tokens = min(config.n_max, 2 * max(config.rows, config.cols) + 1)
    heads = min(config.heads, 2)
    kept = max(1, 2 * tokens // 3)
    layers = []
    for number, (k0, eight_bits) in enumerate(((kept, False), (max(1, kept // 2), True))):
        q, k, v = rng.normal(size=(3, heads, tokens, config.d_head))
        gains = "token" if config.v_gains else "head"
        options = Options(
            p_planes=config.planes,
            unsigned_weights=config.unsigned_weights,
            block_exponents=config.block_exponents,
            signed_gains=config.signed_gains,
            output_bits=8 if eight_bits else 16,
            output_shift=2 if eight_bits else 0,
        )
        layers.append(
            Layer(
                q=quantize(q),
                k=quantize(k),
                v=quantize(v, gains),
                k0=k0,
                k1=k0 // 3,
                causal=eight_bits,
                report=True,
                chained=number > 0,
                four_bit=0 if number else tokens // 2,
                options=options,
            )
        )
    return layers


def chain_vectors(system: SystemConfig, seed: int) -> ChainVectors:
    """Return a chain of two random layers as the driver runs it and the golden model answers it.

    Parameters
    ----------
    system : SystemConfig
    seed : int

    Raises
    ------
    LayoutError
        If the machine cannot address so much memory.
    """
    layers = two_layers(system.core, seed)
    wanted = expected(system.core, layers)
    tensors = sum(each.codes.size for layer in layers for each in (layer.q, layer.k, layer.v))
    half = -(-2 * tensors // PAGE_BYTES) * PAGE_BYTES + PAGE_BYTES
    base = PAGE_BYTES
    bus = GoldenBus(system, base, 2 * half)
    device = Device(bus, Arena(base, half), Arena(base + half, half))

    def answer() -> int:
        for (_, fields), layer, golden in zip(device.chain, layers, wanted, strict=True):
            for name, data in regions(golden, layer.options).items():
                bus.write(fields[name], data)
        return len(device.chain)

    bus.answer = answer
    results = device.run(layers)
    # That the driver finds there what the golden model gave.
    compare_results(layers, results, wanted)
    return ChainVectors(base, tuple(bus.accesses), len(layers), bus.image, bytes(bus.memory))


def regions(golden: Expected, options: Options) -> dict[str, bytes]:
    """Return what a layer writes, by the name of its address field."""
    outputs = golden.outputs
    kind = "i1" if options.output_bits == 8 else "<i2"
    return {
        "output": outputs.output.astype(kind).tobytes(),
        "ids": golden.ids.astype("<u2").tobytes(),
        "importance": outputs.importance.astype("<u4").tobytes(),
    }
