"""The weight of a sink: shifts both ways, both ends, the cut above the maximum, and none."""

import numpy as np
import pytest
from amaranth.hdl import signed

from dtqatten import Config
from dtqatten.golden.numerics import segments
from dtqatten.golden.numerics.segments import RowScale
from dtqatten.golden.numerics.sinks import NO_SINK, SINK_OCTAVES, sink_weight
from dtqatten.golden.numerics.weights import WeightCode
from dtqatten.hw.softmax.sink_weight import POWERS, SinkWeight
from dtqatten.sim.engines.ports import pack
from dtqatten.sim.engines.verilated import VerilatedModel

CONFIG = Config(rows=1, cols=1, depth=8, d_head=128, n_max=1024, sinks=True)


def cases(config: Config) -> list[tuple[int, int, int, int]]:
    """Maximum, multiplier, shift and sink."""
    rng = np.random.default_rng(0)
    limit = config.d_head * 120 * 120
    ends = (NO_SINK, NO_SINK + 1, -1, 0, 1, -NO_SINK - 1)
    found = [
        (maximum, multiplier, shift, sink)
        for maximum in (-limit, -1, 0, 1, limit)
        for multiplier in (0, 1, 65535)
        for shift in (0, 7, 8, 21, 40)
        for sink in ends
    ]
    # At every octave, its first and last step, where a sink is neither too near nor too far.
    for octave in range(-SINK_OCTAVES - 2, 20):
        for u in (256 * octave, 256 * octave + 255, 256 * octave + int(rng.integers(256))):
            place = int(rng.integers(-20000, 20000))
            # A maximum of ``place`` 1/256 octaves: times 2**12, times 8, down by 15.
            if -(2**15) < place - u < 2**15:
                found.append((place, 2**12, 15, place - u))
    for _ in range(2000):
        shift = int(rng.integers(12, 30))
        found.append(
            (
                int(rng.integers(-limit, limit + 1)) >> int(rng.integers(0, 20)),
                int(rng.integers(2**15, 2**16)),
                shift,
                int(rng.integers(*ends[::5])),
            )
        )
    return found


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("planes", [2, 3])
def test_equals_golden_a_row_a_cycle(planes: int, unsigned: bool) -> None:
    config = CONFIG.replace(planes=planes, unsigned_weights=unsigned)
    code = WeightCode(planes, unsigned)
    todo = cases(config)
    maximum, multiplier, shift, sink = (np.array(column) for column in zip(*todo, strict=True))
    scale = RowScale(multiplier[:, None], shift)
    e, divisor = (x[:, 0] for x in sink_weight(sink, maximum[:, None], scale, code))
    assert (e == 1 << 45).any(), "the cut above the maximum is reached"
    assert ((e > 0) & (e < 2**10)).any(), "so is the last octave that leaves something"
    rtl = VerilatedModel(SinkWeight(config), f"sink_weight_{planes}")
    got: dict[str, list[int]] = {"e": [], "divisor": []}
    for cycle in range(len(todo) + SinkWeight.DIVISOR):
        at = min(cycle, len(todo) - 1)
        ports = {
            "maximum": pack([todo[at][0]], signed(config.score_width)),
            "multiplier": todo[at][1],
            "shift": todo[at][2],
            "sink": pack([todo[at][3]], signed(16)),
        }
        shown = rtl.step(ports, "e", "divisor")
        for name in got:
            got[name].append(shown[name])
    assert got["e"][SinkWeight.LATENCY :][: len(todo)] == e.tolist()
    assert got["divisor"][SinkWeight.DIVISOR :] == divisor.tolist()


def test_the_table_is_goldens() -> None:
    assert segments.POWERS.tolist() == POWERS
