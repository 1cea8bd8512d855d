"""Runs of bytes cut into bursts, as the golden list has them."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import bursts
from dtqatten.hw.bus.bursts import Burster
from dtqatten.sim.engines.native import collect, offer, run

CORE = Config(rows=1, cols=1, depth=1, d_head=8, n_max=4)


@pytest.mark.parametrize("narrow_transfers", [False, True])
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("bits", "beats"), [(64, 1), (64, 16), (128, 4), (512, 64)])
def test_bursts_are_those_of_the_golden_list(
    bits: int, beats: int, stall: float, narrow_transfers: bool
) -> None:
    system = SystemConfig(core=CORE, bus_bits=bits, burst_beats=beats, address_bits=20)
    rng = np.random.default_rng(beats)
    width = system.bus_bytes
    # One byte, a word, a page and its edge; then anything.
    runs = [(0, 1), (width - 1, 2), (4096 - width, width), (4095, 2), (0, 4096)]
    runs += [(int(rng.integers(1 << 16)), int(rng.integers(1, 40 * width))) for _ in range(20)]
    wanted = [list(bursts(system, *given, narrow_transfers)) for given in runs]
    dut = Burster(system, narrow_transfers)
    taken, sink = collect(
        dut.o,
        sum(map(len, wanted)),
        rng,
        stall,
        lambda p: (p.word * width + p.offset, p.beats, 1 << p.width, p.skip, p.drop, p.last),
    )
    run(dut, offer(dut.i, [{"address": a, "size": n} for a, n in runs], rng, stall), sink)
    found = iter(taken)
    for (address, size), parts in zip(runs, wanted, strict=True):
        at = address
        for part in parts:
            last = part is parts[-1]
            assert part.address <= at
            word = part.address // width * width
            end = word + part.beats * width
            drop = end - address - size if last else 0
            assert next(found) == (part.address, part.beats, part.width, at - word, drop, last)
            at = end
