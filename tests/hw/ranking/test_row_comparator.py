"""A row of scores against two references, with its description, in accepted cycles."""

import numpy as np
import pytest

from dtqatten.hw.payloads.topk import TopKConfig
from dtqatten.hw.ranking.row_comparator import RowComparator
from dtqatten.sim.engines.native import run


@pytest.mark.parametrize("width", [2, 12, 64])
def test_marks_follow_two_accepted_cycles_later(width: int) -> None:
    config = TopKConfig(4, 16, score_width=width, index_bits=2)
    dut = RowComparator(config)
    rng = np.random.default_rng(width)
    top = (1 << width) - 1
    seen = np.zeros(3, int)

    async def testbench(ctx) -> None:
        references = [top // 2, top // 2 + 1]
        ctx.set(dut.references, references)
        near = [0, top, *references]
        accepted: list[tuple] = []
        for _ in range(400):
            scores = [near[i] for i in rng.integers(0, 4, 4)]
            lanes, fetched, valid = int(rng.integers(16)), *rng.integers(0, 2, 2).tolist()
            advance = rng.random() < 0.7
            ctx.set(dut.scores, scores)
            ctx.set(dut.lanes, lanes)
            ctx.set(dut.fetched, fetched)
            ctx.set(dut.class_row, {"valid": valid, "row": lanes % 4})
            ctx.set(dut.advance, int(advance))
            if len(accepted) > 1:
                assert list(ctx.get(dut.firsts)) == accepted[-1][0]
                words, here, passing, row = accepted[-2]
                assert list(ctx.get(dut.words)) == words
                assert ctx.get(dut.passing) == passing
                assert (ctx.get(dut.class_row_next.valid), ctx.get(dut.class_row_next.row)) == row
                for t, reference in enumerate(references):
                    for kind, (marks, holds) in enumerate(
                        (
                            (dut.above[t], [w > reference for w in words]),
                            (dut.below[t], [w < reference for w in words]),
                            (dut.inside[t], [w == reference for w in words]),
                        )
                    ):
                        wanted = here & sum(h << i for i, h in enumerate(holds))
                        assert ctx.get(marks) == wanted
                        seen[kind] += wanted.bit_count()
            if advance:
                accepted.append((scores, lanes, fetched, (valid, lanes % 4)))
            await ctx.tick()

    run(dut, testbench)
    assert seen.min() > 50
