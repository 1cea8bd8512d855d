"""Latencies of the second pass, with and without V gains; each refuses the other's machine."""

import gc

import pytest

from dtqatten import Config
from dtqatten.hw.softmax.exponential_pass import ExponentialPass
from dtqatten.hw.softmax.gained_exponential_pass import GainedExponentialPass
from dtqatten.hw.softmax.plain_exponential_pass import PlainExponentialPass
from dtqatten.sim.engines.native import run

KINDS = {False: PlainExponentialPass, True: GainedExponentialPass}


def cycles_of_a_row(dut: ExponentialPass) -> dict[str, int]:
    """Give one row, all of its block, and return the cycle in which each output is valid."""
    found: dict[str, int] = {}
    valid = {"exponentials": dut.exponentials_valid, "reduced": dut.reduced.valid,
             "row_record": dut.row_record_valid}  # fmt: skip
    if not dut.config.v_gains:
        valid["weights"] = dut.weights_valid

    async def testbench(ctx) -> None:
        # The values come first: a word of one key.
        ctx.set(dut.values.valid, 1)
        ctx.set(dut.values.p, {"item": {"gain": 256, "narrow": 0}, "last": 1})
        await ctx.tick()
        ctx.set(dut.values.valid, 0)
        ctx.set(dut.i_valid, 1)
        ctx.set(dut.i, {"scores": [0] * dut.config.cols, "keys": 1, "last_row": 1,
                        "last_tile": 1, "last_block": 1})  # fmt: skip
        for cycle in range(60):
            for name, signal in valid.items():
                if ctx.get(signal):
                    assert name not in found
                    found[name] = cycle
            await ctx.tick()
            ctx.set(dut.i_valid, 0)

    run(dut, testbench)
    return found


@pytest.mark.parametrize("v_gains", [False, True])
@pytest.mark.parametrize(("cols", "levels"), [(1, 0), (4, 2), (5, 3)])
def test_latencies_are_as_stated(cols: int, levels: int, v_gains: bool) -> None:
    config = Config(rows=2, cols=cols, depth=1, d_head=8, n_max=9, v_gains=v_gains)
    found = cycles_of_a_row(KINDS[v_gains](config))
    assert found["exponentials"] == 8
    assert found["reduced"] == 28 + levels == ExponentialPass.reduced_latency(config)
    assert found["row_record"] == 30 + levels == ExponentialPass.record_latency(config)
    if not v_gains:
        assert found["weights"] == 10 == PlainExponentialPass.WEIGHTS


@pytest.mark.filterwarnings("ignore:.*created but never used")
@pytest.mark.parametrize("v_gains", [False, True])
def test_the_other_kind_of_machine_is_refused(v_gains: bool) -> None:
    config = Config(rows=2, cols=2, depth=1, d_head=8, n_max=9, v_gains=not v_gains)
    with pytest.raises(ValueError, match=rf"v_gains is {not v_gains}: \w+Pass is for {v_gains}"):
        KINDS[v_gains](config)
    gc.collect()  # of the refused component, which Amaranth reports as unused
