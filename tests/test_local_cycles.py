"""Cycles of heads whose row blocks multiply V of a share of their groups, as literal numbers."""

import pytest

from dtqatten.configuration.core import PRESETS, Config
from dtqatten.model.closed_form import unit_cycles
from dtqatten.model.core import local_cycles
from dtqatten.model.workload import Workload, core_layer
from dtqatten.sim.lockstep.core import CoreLockstep, build_core

#: Cycles of a later head of 4-bit tokens with weights of 8 bits, by share: all, a half, 0.35.
LOCAL = {
    "tiny": (64, {256: 4096, 128: 2048, 90: 2048}),
    "base": (512, {256: 12288, 128: 8192, 90: 8192}),
}


@pytest.mark.parametrize("preset", ["tiny", pytest.param("base", marks=pytest.mark.long)])
def test_row_blocks_leave_out_groups_of_values(preset: str) -> None:
    """A machine that can do it takes no cycle more where no layer asks for it."""
    tokens, cycles = LOCAL[preset]
    config = PRESETS[preset]
    blocks, tiles = -(-tokens // config.rows), -(-tokens // config.cols)
    assert cycles[256] == blocks * tiles * 2 * config.parts * config.channel_passes
    for share, wanted in cycles.items():
        assert local_cycles(config, tokens, share) == wanted


#: The same of 100 tokens and more: cycles of a later head, those that the score array computes,
#: those that the value array does, and those that the normalizer takes, by tokens and share.
LOCAL_UNITS = {
    "base": {
        (100, 64): (416, 416, 156, 400),
        # Both arrays take 32 cycles a row block, and it keeps one of three banks for more than 96.
        (100, 200): (432, 416, 416, 400),
        (120, 160): (520, 480, 480, 480),
        (128, 200): (640, 512, 640, 512),
        (185, 128): (1152, 1152, 864, 740),
        (185, 171): (1248, 1152, 1248, 740),
    },
    # A lane of the normalizer divides longer than either array computes.
    "edge": {(100, 64): (6400, 2600, 2912, 6400), (100, 171): (7072, 2600, 7072, 6400)},
}


@pytest.mark.parametrize("preset", list(LOCAL_UNITS))
def test_the_choice_of_groups_keeps_no_array_waiting(preset: str) -> None:
    """Not by more than a twentieth and 16 cycles, unless the normalizer keeps both."""
    config = PRESETS[preset]
    for (tokens, share), (cycles, *units) in LOCAL_UNITS[preset].items():
        four = Workload(
            tokens=tokens, d_head=config.d_head, shares=(0.0, 1.0, 0.0), value_share=share
        )
        found = unit_cycles(config, four)
        assert [found[unit] for unit in ("score_array", "value_array", "normalizer")] == units
        assert max(units) <= cycles <= 1.05 * max(units) + 16
        assert local_cycles(config, tokens, share) == cycles


def test_the_choice_keeps_no_array_waiting_in_verilog() -> None:
    """100 tokens in 13 tiles and 25 row blocks; of 25 groups 13 are multiplied.

    Q x K^T takes 4 steps a tile; P x V takes 2 planes of 13 groups, in 2 channel passes.
    """
    config = Config(
        rows=4, cols=8, depth=4, d_head=16, n_max=104, skip_tiles=True, local_values=True
    )
    work = Workload(tokens=100, d_head=16, shares=(0.0, 1.0, 0.0), value_share=128)
    bench = CoreLockstep(config, [core_layer(config, work, heads=2)])
    build_core(config).run(bench)
    ends = [cycle for cycle, beat in bench.taken["outputs"] if beat.last_block]
    assert 25 * 13 * 4 == 25 * 2 * 13 * 2 == 1300
    assert ends[-1] - ends[len(ends) // 2 - 1] == 1300
