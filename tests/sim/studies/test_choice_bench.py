"""The benchmark of decode steps whose row blocks choose, at a small size."""

import pytest

from dtqatten import Config
from dtqatten.sim.studies import decode_bench
from dtqatten.sim.studies.choice_bench import WAYS, measure_choices
from dtqatten.sim.studies.decode_bench import Shape

CORE = Config(rows=4, cols=8, depth=8, d_head=32, n_max=64)


def test_what_is_multiplied_alone_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 keys, 8 groups, of which 3 are chosen: of V 24 keys are read, in 4 or in 8 bits."""
    small = Shape(layers=2, kv_heads=4, group=3, d=32, run=2)
    monkeypatch.setitem(decode_bench.SHAPES, "small", small)
    kept: list[int] = []
    options = {"shapes": ["small"], "buses": [64], "keys": 64, "optimize": 0}

    def measure(shares: list[str], known: list[dict]) -> list[dict]:
        def keep(steps: list[dict]) -> None:
            kept.append(len(steps))

        return measure_choices(
            CORE, lambda _: None, 0.35, shares=shares, known=known, keep=keep, **options
        )

    steps = measure(["4 bit", "75 / 25", "8 bit"], [])
    assert kept == list(range(1, 3 * len(WAYS) + 1))
    # What has been measured stays; another machine's is measured again, another bus's is kept.
    other = steps[0] | {"bus_bits": 128}
    assert measure(["4 bit"], [*steps, other]) == [other, *steps]
    assert len(kept) == 3 * len(WAYS)
    assert all(step["value_share"] == 90 / 256 for step in steps)
    ratio = {(step["share"], step["way"]): step["bytes_ratio"] for step in steps}
    for wide, ideal in (("4 bit", 16), ("8 bit", 32)):
        assert ratio[wide, "multiplied"] == ratio[wide, "all"]
        # Of bytes that include those of six queries.
        less = (ratio[wide, "all"] - ratio[wide, "read"]) * (2 * 2 * 64 * ideal + 6 * 32)
        assert less == pytest.approx(2 * 40 * ideal)
    assert ratio["75 / 25", "read"] < ratio["75 / 25", "all"]
