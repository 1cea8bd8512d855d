"""Areas of a made-up technology, added up by hand."""

from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

from dtqatten.hw.base.memory_shape import Memory
from dtqatten.synth.estimate.area_model import (
    FILE,
    AreaModel,
    fitted,
    parts_of,
    read_model,
)
from dtqatten.synth.estimate.contents import KINDS, Contents
from dtqatten.synth.macros import Macro
from dtqatten.synth.tools import InputError

MACRO = Macro("ram", 64, 8, 200.0, 0.2, 0.1, 1.0, 1.0, (0.0, 1.0), (0.0, 1.0), access=500.0)
MODEL = AreaModel(
    {"adder": 2.0, "flip_flop": 5.0, "register_file": 6.0, "read_port": 1.0},
    5.0,
    [MACRO],
    {"ram": (20.0, 10.0)},
    0.01,
    0.5,
    {"other": -0.02},
    "made up",
)
LARGE, TWO_PORTS, SMALL = Memory(64, 8, 1), Memory(64, 16, 2), Memory(4, 4, 2)
CONTENTS = {
    "top": Contents(Counter(adder=1), modules=Counter(block=2, other=1)),
    "block": Contents(Counter(adder=10), Counter({LARGE: 1}), Counter(leaf=3)),
    "leaf": Contents(Counter(flip_flop=4), Counter({SMALL: 1})),
    "other": Contents(Counter(flip_flop=1), Counter({TWO_PORTS: 1}), Counter(leaf=1)),
}


def test_a_part_has_all_that_is_in_its_modules() -> None:
    parts = parts_of(CONTENTS, "top", MODEL, {"block": "b", "other": "o"})
    assert parts[""].sizes == Counter(adder=1)
    # 2 blocks of 10 bits, 6 leaves of 4 flip-flops and a memory of 16 bits that are flip-flops.
    assert parts["b"].sizes == Counter(
        adder=20, flip_flop=24, register_file=6 * 16, read_port=6 * 16
    )
    assert parts["o"].sizes == Counter(flip_flop=5, register_file=16, read_port=16)
    (whole,) = parts_of(CONTENTS, "top", MODEL, {}).values()
    assert whole.sizes == sum((part.sizes for part in parts.values()), Counter())


def test_areas_add_up() -> None:
    parts = parts_of(CONTENTS, "top", MODEL, {"block": "b", "other": "o"})
    assert MODEL.logic_um2(parts["b"]) == 20 * 2 + 24 * 5 + 96 * 7
    assert MODEL.sram_um2(parts["b"]) == 2 * 200
    # 16 bits are two macros, each half as large again for its second port.
    assert MODEL.sram_um2(parts["o"]) == 2 * 300
    logic = 5 * 5 + 16 * 7
    assert MODEL.die_um2(parts["o"], density=0.5, halo=1.0) == logic / 0.5 + 2 * 32 * 12
    mapped = MODEL.synthesized(parts["o"])
    assert mapped["uniform_mw"] == pytest.approx(0.01 * logic)
    assert mapped["memories"] == {"sram_64x16_1r1w": {"count": 1, "ports": 2, "access_pj": 2 * 0.5}}


def test_a_technology_without_macros_has_flip_flops() -> None:
    bare = AreaModel(MODEL.um2, 5.0, [], {}, 0.01, 0.5, {}, "made up")
    (whole,) = parts_of(CONTENTS, "top", bare, {}).values()
    assert not whole.memories
    assert whole.sizes["register_file"] == 2 * 512 + 1024 + 7 * 16


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(MODEL.text())
    assert read_model(path) == MODEL
    for text in ("", "{}", "[]", '{"macros": [{}]}', '{"macros": []}'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"model\.json is no area model"):
            read_model(path)


def test_the_model_that_comes_with_the_package_is_whole() -> None:
    """Of whole cores that it is not fitted to it knows the area within 3 %, of blocks 12 %."""
    model = fitted()
    assert model.um2.keys() == KINDS.keys()
    assert model.outlines.keys() == {macro.name for macro in model.macros}
    cores = [error for name, error in model.error.items() if name.endswith("-core")]
    assert len(cores) >= 3
    assert max(map(abs, cores)) < 0.03
    assert len(model.error) >= 10
    assert max(map(abs, model.error.values())) < 0.12
    assert model.text() == (resources.files("dtqatten.synth.estimate") / FILE).read_text()
