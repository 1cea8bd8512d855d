"""Width converters: no byte is lost, added or moved."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.gearbox import Packer, Unpacker
from dtqatten.sim.engines.native import collect, offer, run

CORE = Config(rows=1, cols=1, depth=1, d_head=8, n_max=4)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(
    ("bits", "nibbles", "granule"), [(64, 2, 1), (64, 16, 8), (128, 20, 4), (512, 16, 16)]
)
def test_unpacked_beats_are_the_bytes_that_were_asked_for(bits, nibbles, granule, stall) -> None:
    system = SystemConfig(core=CORE, bus_bits=bits)
    rng = np.random.default_rng(nibbles)
    width = system.bus_bytes
    words, wanted = [], b""
    while len(words) < 30 or len(wanted) * 2 % nibbles:
        skip = int(rng.integers(0, width // granule)) * granule * int(rng.integers(2))
        drop = int(rng.integers(0, (width - skip) // granule)) * granule * int(rng.integers(2))
        data = rng.bytes(width)
        words.append({"data": int.from_bytes(data, "little"), "skip": skip, "drop": drop})
        wanted += data[skip : width - drop]
    dut = Unpacker(system, nibbles, granule)
    count = 2 * len(wanted) // nibbles
    taken, sink = collect(dut.o, count, rng, stall, lambda beat: list(beat))
    run(dut, offer(dut.i, words, rng, stall), sink)
    flat = [nibble for beat in taken for nibble in beat]
    assert bytes(a | b << 4 for a, b in zip(flat[::2], flat[1::2], strict=True)) == wanted


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(
    ("bits", "size", "granule"), [(64, 4, 1), (64, 16, 2), (128, 6, 2), (512, 16, 4)]
)
def test_packed_words_have_the_bytes_of_the_beats(bits, size, granule, stall) -> None:
    system = SystemConfig(core=CORE, bus_bits=bits)
    rng = np.random.default_rng(size)
    width = system.bus_bytes
    runs, beats, wanted = [], [], []
    for _ in range(15):
        skip = int(rng.integers(0, width // granule)) * granule
        data = rng.bytes(granule * int(rng.integers(1, 6 * width // granule)))
        runs.append({"skip": skip, "size": len(data)})
        line = [None] * skip + list(data)
        line += [None] * (-len(line) % width)
        wanted += [line[at : at + width] for at in range(0, len(line), width)]
        while data:
            count = min(len(data), granule * int(rng.integers(1, size // granule + 1)))
            # What lies beyond the count is noise.
            beat = data[:count] + rng.bytes(size - count)
            beats.append({"data": int.from_bytes(beat, "little"), "count": count})
            data = data[count:]
    dut = Packer(system, size, granule)
    taken, sink = collect(
        dut.o,
        len(wanted),
        rng,
        stall,
        lambda word: (word.data.to_bytes(width, "little"), word.strb),
    )
    run(dut, offer(dut.runs, runs, rng, stall), offer(dut.i, beats, rng, stall), sink)
    found = [
        [byte if strobes >> at & 1 else None for at, byte in enumerate(data)]
        for data, strobes in taken
    ]
    assert found == wanted
