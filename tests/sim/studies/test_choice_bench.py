"""The benchmark of decode steps whose row blocks choose, at a small size."""

import pytest

from dtqatten import Config
from dtqatten.sim.studies import decode_bench
from dtqatten.sim.studies.choice_bench import WAYS, measure_choice
from dtqatten.sim.studies.decode_bench import Shape

CORE = Config(rows=4, cols=8, depth=8, d_head=32, n_max=64)


def test_what_is_multiplied_alone_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 keys, 8 groups, of which 3 are chosen: of V 24 keys are read, in 4 or in 8 bits."""
    small = Shape(layers=2, kv_heads=4, group=3, d=32, run=2)
    monkeypatch.setitem(decode_bench.SHAPES, "small", small)
    steps = measure_choice(CORE, "small", 64, keys=64, share=90, optimize=0)
    ratio = {(step["wide"], step["way"]): step["bytes_ratio"] for step in steps}
    assert len(ratio) == 3 * len(WAYS)
    for wide, ideal in ((0.0, 16), (1.0, 32)):
        assert ratio[wide, "multiplied"] == ratio[wide, "all"]
        # Of bytes that include those of six queries.
        less = (ratio[wide, "all"] - ratio[wide, "read"]) * (2 * 2 * 64 * ideal + 6 * 32)
        assert less == pytest.approx(2 * 40 * ideal)
    assert ratio[0.25, "read"] < ratio[0.25, "all"]
