"""A fit finds the areas that designs were made with."""

from collections import Counter

import pytest

from dtqatten.hw.base.memory_shape import Memory
from dtqatten.synth.estimate.contents import KINDS, Contents
from dtqatten.synth.estimate.fitting import Sample, error, fit
from dtqatten.synth.macros import Macro

MACRO = Macro("ram", 64, 8, 200.0, 0.2, 0.1, 1.0, 1.0, (0.0, 1.0), (0.0, 1.0))
TRUTH = {"flip_flop": 5.0, "adder": 3.0, "xor": 1.5}


def sample(name: str, scale: int, off: float = 1.0) -> Sample:
    """Return a design of three kinds of module, each with more of one kind of cell."""
    contents = {"top": Contents(Counter(adder=1), Counter({Memory(64, 8, 1): 1}))}
    modules = {"top": {"count": 1, "um2": 3.0}}
    for number, kind in enumerate(TRUTH):
        sizes = Counter(dict.fromkeys(TRUTH, 3))
        sizes[kind] += 10 * scale + number
        contents["top"].modules[kind] += scale
        contents[kind] = Contents(sizes)
        um2 = off * scale * sum(TRUTH[one] * size for one, size in sizes.items())
        modules[kind] = {"count": scale, "um2": um2}
    area = sum(module["um2"] for module in modules.values())
    result = {
        "design": name,
        "modules": modules,
        "area_um2": area + 200.0,
        "sram_um2": 200.0,
        "uniform_mw": 0.002 * area,
    }
    return Sample(result, contents)


def test_areas_are_found_again_and_errors_are_told() -> None:
    held_out = [sample("same", 7), sample("larger", 4, off=1.25)]
    model = fit(
        [sample("one", 1), sample("two", 3)],
        held_out,
        [MACRO],
        {"ram": (20.0, 10.0)},
        flip_flop_um2=5.0,
        pj_per_product=0.5,
        source="made up",
    )
    assert {name: um2 for name, um2 in model.um2.items() if um2} == pytest.approx(TRUTH)
    assert model.um2.keys() == KINDS.keys()
    assert model.mw_per_um2 == pytest.approx(0.002)
    assert model.error["same"] == pytest.approx(0.0, abs=1e-6)
    # What is mapped to a quarter more than the model knows of.
    area = held_out[1].result["area_um2"]
    assert model.error["larger"] == pytest.approx(-(area - 203.0) / 5 / area, abs=1e-4)
    assert error(model, held_out[1]) == model.error["larger"]
