"""The value array, equal to its cycle model in every cycle."""

import itertools

import numpy as np
import pytest

from dtqatten import Config, Schedule
from dtqatten.golden.cycles.value_steps import value_steps
from dtqatten.golden.numerics.codes import at_precision
from dtqatten.golden.numerics.local_values import multiplied, tiling
from dtqatten.hw.arrays.value_array import ValueArray
from dtqatten.sim.engines.bench import MismatchError
from dtqatten.sim.engines.native import run_lockstep
from dtqatten.sim.engines.verilated import VerilatedModel
from dtqatten.sim.lockstep.value_array import ValueHead, ValueLockstep, random_value_head

PRUNED = {"skip_tiles": True, "local_values": True}
CHOSEN = {**PRUNED, "chosen_values": True}
UNSIGNED = {"unsigned_weights": True}
BLOCK = {"block_exponents": True}
PODS = {"pod_cols": 2, "n_max": 18}
TRIPLE = {"pod_cols": 3}
SLOW = {"product_stages": 2}
SHAPES = [
    {"rows": 1, "cols": 1, "depth": 1, "d_head": 8, "n_max": 3},
    {"rows": 3, "cols": 5, "depth": 2, "d_head": 24, "n_max": 16},
    {"rows": 8, "cols": 2, "depth": 8, "d_head": 8, "n_max": 20},
    {"rows": 2, "cols": 12, "depth": 4, "d_head": 32, "n_max": 30},
    {"rows": 3, "cols": 7, "depth": 4, "value_depth": 3, "d_head": 16, "n_max": 20},
    {"rows": 2, "cols": 20, "depth": 8, "d_head": 16, "n_max": 50},
    {"rows": 8, "cols": 2, "depth": 8, "d_head": 8, "n_max": 20, "product_stages": 2},
    {"rows": 2, "cols": 4, "depth": 3, "d_head": 24, "n_max": 18, "skip_tiles": True},
    {**PRUNED, "rows": 2, "cols": 4, "depth": 3, "d_head": 24, "n_max": 18},
    {**PRUNED, "rows": 1, "cols": 1, "depth": 1, "d_head": 8, "n_max": 3},
    {**PRUNED, "rows": 3, "cols": 5, "depth": 7, "d_head": 14 * 4, "n_max": 16},
    {**PRUNED, "rows": 4, "cols": 4, "depth": 1, "d_head": 8, "n_max": 17, "product_stages": 2},
    {"rows": 3, "cols": 4, "depth": 4, "d_head": 32, "n_max": 18, "value_load_bits": 64},
    {"rows": 2, "cols": 2, "depth": 4, "d_head": 16, "n_max": 9, "value_load_bits": 64},
    {**UNSIGNED, "rows": 3, "cols": 5, "depth": 2, "d_head": 24, "n_max": 16},
    {**PRUNED, **UNSIGNED, "rows": 2, "cols": 4, "depth": 3, "d_head": 24, "n_max": 18},
    {**BLOCK, "rows": 3, "cols": 5, "depth": 2, "d_head": 24, "n_max": 16},
    {**BLOCK, **UNSIGNED, "rows": 1, "cols": 1, "depth": 1, "d_head": 8, "n_max": 3},
    {**BLOCK, "rows": 4, "cols": 4, "depth": 3, "d_head": 24, "n_max": 17, "product_stages": 2},
    {**BLOCK, **UNSIGNED, **PRUNED, "rows": 2, "cols": 4, "depth": 3, "d_head": 24, "n_max": 18},
    {**CHOSEN, "rows": 4, "cols": 4, "depth": 2, "d_head": 16, "n_max": 30},
    {**CHOSEN, "rows": 1, "cols": 1, "depth": 1, "d_head": 8, "n_max": 3},
    {**CHOSEN, "rows": 3, "cols": 5, "depth": 2, "d_head": 24, "n_max": 18},
    {**CHOSEN, "rows": 6, "cols": 3, "depth": 8, "d_head": 16, "n_max": 20, "product_stages": 2},
    {**CHOSEN, **BLOCK, "rows": 4, "cols": 4, "depth": 2, "d_head": 16, "n_max": 30},
    {**CHOSEN, **BLOCK, **UNSIGNED, "rows": 3, "cols": 5, "depth": 2, "d_head": 24, "n_max": 18},
    {"rows": 3, "cols": 6, "depth": 2, "d_head": 24, "n_max": 16, "pod_cols": 2},
    # Where channels end, in the last pass, is within a pod.
    {**TRIPLE, "rows": 2, "cols": 6, "depth": 4, "d_head": 16, "value_depth": 3, "n_max": 17},
    {"rows": 2, "cols": 12, "depth": 4, "d_head": 8, "n_max": 30, "pod_cols": 6},
    {**BLOCK, **PRUNED, **PODS, "rows": 4, "cols": 4, "depth": 4, "d_head": 8, "n_max": 18},
    {**CHOSEN, **BLOCK, **UNSIGNED, **PODS, "rows": 3, "cols": 6, "depth": 2, "d_head": 8},
    {**UNSIGNED, **PODS, **SLOW, "rows": 5, "cols": 4, "depth": 4, "d_head": 8, "n_max": 9},
    {**PODS, "rows": 3, "cols": 4, "depth": 4, "d_head": 32, "value_load_bits": 64, "n_max": 9},
]


def heads_of(config: Config) -> list[ValueHead]:
    """Heads of every mix of precisions."""
    rng = np.random.default_rng(config.rows)
    return [
        random_value_head(config, rng, wide_share=share, follows=follows, narrow_share=narrow)
        for share, follows, narrow in itertools.product(
            [0.0, 0.4, 1.0], [False, True], [0.0, 0.5, 1.0]
        )
    ]


def golden(config: Config, heads: list[ValueHead]) -> list[list[int]]:
    """Rows of sums, in the order in which they come."""
    expected = []
    for head in heads:
        weights = head.weights
        if head.exponents is not None:
            each = np.repeat(head.exponents, config.cols, 1)[:, : weights.shape[1]]
            weights = weights << 3 - each
        if head.share:
            tile = (config.rows, config.cols, config.group)
            tiles = tiling(1, *weights.shape, tile)
            weights = weights * multiplied(weights[None], head.share, tiles)[0]
        sums = weights @ at_precision(head.values, np.where(head.wide, 8, 4)[:, None])
        for block in range(0, len(sums), config.rows):
            for at in range(0, config.d_head, config.cols):
                expected += sums[block : block + config.rows, at : at + config.cols].tolist()
    return expected


def taken(bench: ValueLockstep) -> list[list[int]]:
    return [row.values[: row.keys].tolist() for _, row in bench.taken["sums"]]


@pytest.mark.parametrize("schedule", list(Schedule))
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s.values())))
@pytest.mark.parametrize(("planes", "stall", "lazy"), [(2, 0.0, False), (3, 0.4, True)])
def test_equals_cycle_model(schedule, shape, planes, stall, lazy) -> None:
    config = Config(schedule=schedule, planes=planes, **shape)
    heads = heads_of(config)
    bench = ValueLockstep(config, heads, stall=stall, lazy=lazy)
    run_lockstep(ValueArray(config, observed=True), bench)
    assert taken(bench) == golden(config, heads)


@pytest.mark.parametrize(
    "config",
    [
        Config(**SHAPES[1]),
        Config(**SHAPES[4], planes=3, schedule=Schedule.INTERLEAVED),
        Config(**SHAPES[6]),
        Config(**SHAPES[8], product_stages=2),
        Config(**SHAPES[14], planes=3, product_stages=2),
        Config(**SHAPES[15], schedule=Schedule.INTERLEAVED),
        Config(**SHAPES[18]),
        Config(**SHAPES[22], schedule=Schedule.INTERLEAVED),
        Config(**SHAPES[23]),
        Config(**SHAPES[25]),
        Config(**SHAPES[27]),
        Config(**SHAPES[30], planes=3, schedule=Schedule.INTERLEAVED),
    ],
    ids=[
        "3x5",
        "3x7, 12 bits, interleaved",
        "8x2, slow logic",
        "3x4, wide beats, slow logic",
        "unsigned, 12 bits",
        "unsigned",
        "exponents, slow logic",
        "chosen, interleaved",
        "chosen, slow logic",
        "chosen, exponents, unsigned",
        "pods",
        "pods, chosen, exponents, unsigned, 12 bits, interleaved",
    ],
)
def test_verilog_equals_cycle_model(config: Config, compared) -> None:
    """The exported circuit, whose dot products are not those of Amaranth's simulator."""
    component = ValueArray(config, observed=True)
    rtl = VerilatedModel(component, "value_array", reset_cycles=config.flush_cycles)
    heads = heads_of(config)
    for stall, lazy in ((0.0, False), (0.4, True)):
        bench = ValueLockstep(config, heads, stall=stall, lazy=lazy)
        rtl.run(bench)
        assert taken(bench) == golden(config, heads)
        compared["verilator, in process"] += bench.compared


def test_a_wrong_port_is_reported_with_its_cycle() -> None:
    """The comparison itself can fail: an array of another schedule is caught."""
    config = Config(**SHAPES[1])
    other = ValueArray(config.replace(schedule=Schedule.INTERLEAVED), observed=True)
    heads = [random_value_head(config, np.random.default_rng(0), wide_share=1.0)]
    with pytest.raises(MismatchError, match=r"cycle \d+: acc is 0x"):
        run_lockstep(other, ValueLockstep(config, heads))


@pytest.mark.parametrize("schedule", list(Schedule))
@pytest.mark.parametrize("planes", [2, 3])
def test_weights_that_follow_their_tokens_skip_planes(planes: int, schedule: Schedule) -> None:
    """A tile takes ``groups + (2 * planes - 1) * wide groups`` steps, else ``planes * (both)``.

    One of a narrow row block takes ``groups + wide groups``.
    """
    config = Config(rows=2, cols=4, depth=2, d_head=8, n_max=12, planes=planes, schedule=schedule)
    zeros = np.zeros((6, 2, 4), dtype=np.int64)
    wide = np.array([False, False, False, True, False, True])
    steps = {
        (follows, narrow): len(
            list(value_steps(config, zeros[:, :, :2], zeros, wide, follows=follows, narrow=narrow))
        )
        for follows, narrow in itertools.product([False, True], repeat=2)
    }
    assert steps == {
        (False, False): planes * (6 + 2),
        (True, False): 6 + (2 * planes - 1) * 2,
        (False, True): 6 + 2,
        (True, True): 6 + 2,
    }


@pytest.mark.parametrize(
    ("cols", "depth", "choices", "values"),
    [(4, 2, [9, 10], [10, 11]), (8, 2, [11, 12, 13, 14], [12, 13]), (8, 4, [10, 11], [11, 12])],
)
def test_a_choice_is_told_a_group_a_cycle(cols, depth, choices, values) -> None:
    """Cycles from the last weights of a tile to its chosen groups, and to their first values."""
    config = Config(**CHOSEN, rows=4, cols=cols, depth=depth, d_head=8, n_max=16)
    ones = np.ones((cols, 8), int)
    none = np.zeros(cols, bool)
    head = ValueHead(np.full((1, cols), 5), ones, none, False, none[:1], share=255, chosen=True)
    bench = ValueLockstep(config, [head])
    run_lockstep(ValueArray(config, observed=True), bench)
    (last,) = bench.accepted["weights"]
    assert [cycle - last for cycle, _ in bench.taken["choices"]] == choices
    assert [cycle - last for cycle in bench.accepted["values"][:2]] == values
