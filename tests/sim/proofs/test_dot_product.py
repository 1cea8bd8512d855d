"""The exported tree of adders is proved to be the dot product, and no other one is."""

import re

import pytest
from amaranth.hdl import Assert, Module
from amaranth.lib.wiring import In, Out

from dtqatten import PRESETS, Config
from dtqatten.hw.arrays.dot_product import DotProduct
from dtqatten.hw.base.export import ExportPlatform, verilog
from dtqatten.hw.payloads.arrays import operand_layout
from dtqatten.sim.proofs.dot_product import DOT_PRODUCTS, adds_up, is_dot_product
from dtqatten.sim.proofs.formal import prove
from dtqatten.sim.proofs.harness import Proof
from dtqatten.sim.proofs.properties import Property

#: What the arrays of the presets multiply with, scores and values.
USED = sorted({(depth, c.product_stages) for c in PRESETS.values() for depth in (c.depth, c.group)})


def config(depth: int, stages: int, unsigned: bool = False) -> Config:
    return Config(
        rows=1,
        cols=1,
        depth=depth,
        d_head=8 * depth,
        product_stages=stages,
        unsigned_weights=unsigned,
    )


def test_make_formal_proves_what_presets_use() -> None:
    proved = {(c.depth, c.product_stages, c.unsigned_weights) for c in DOT_PRODUCTS}
    assert proved >= {(*used, False) for used in USED}
    assert proved >= {(depth, stages, False) for depth in range(1, 17) for stages in (1, 2)}
    assert proved >= {(c.group, c.product_stages, True) for c in PRESETS.values()}


@pytest.mark.parametrize(("depth", "stages"), USED)
def test_trees_of_the_presets_are_proved(depth: int, stages: int) -> None:
    assert is_dot_product(config(depth, stages))
    assert is_dot_product(config(depth, stages, unsigned=True))


def test_a_tree_of_other_nibbles_is_not_proved() -> None:
    """Signed nibbles are not unsigned ones, either way."""
    for unsigned in (False, True):
        of = config(2, 1, unsigned)
        other = DotProduct(of, unsigned_q=not unsigned)
        assert not adds_up(verilog(other, "dot_product"), of, other.offset)


@pytest.mark.parametrize(
    ("stages", "found", "instead"),
    [
        (1, r"(assign sum_4_\d+ = \w+) \^", r"\1 |"),
        (1, r"(assign carry_2_\d+ = \w+) \|", r"\1 &"),
        (1, r"(assign product_1_2_1 = )q\[6\]", r"\1q[7]"),
        (1, r"(assign product_0_0_3 = )~", r"\1"),
        (1, r"(assign sum = \{ )1'h0", r"\g<1>1'h1"),
        # One bit that comes a cycle early.
        (2, r"(assign half_3_\d+ = )half_way_3_(\d+)", None),
    ],
    ids=["sum", "carry", "operand", "sign", "constant", "register"],
)
def test_a_wrong_tree_is_not_proved(stages: int, found: str, instead: str | None) -> None:
    of = config(2, stages)
    component = DotProduct(of)
    text = verilog(component, "dot_product")
    if instead is None:
        register = re.search(found, text)[2]
        before = re.search(rf"half_way_3_{register} <= (\w+);", text)[1]
        instead = rf"\1{before}"
    wrong, changes = re.subn(found, instead, text, count=1)
    assert changes
    assert adds_up(text, of, component.offset)
    assert not adds_up(wrong, of, component.offset)
    assert not adds_up(text, of, component.offset + 1)


class Tree(DotProduct):
    """The tree as it is exported."""

    def elaborate(self, platform: object) -> Module:
        return super().elaborate(ExportPlatform())


class Harness(Proof):
    """A tree of free operands, which is asserted to be their dot product."""

    def __init__(self, name: str) -> None:
        self.of = config(2, 1)
        operand = operand_layout(self.of)
        super().__init__({"q": In(operand), "k": In(operand), "clocked": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.tree = tree = Tree(self.of)
        dot = sum(self.q[i] * self.k[i] for i in range(self.of.depth))
        m.d.sync += self.clocked.eq(1)
        m.d.comb += [
            tree.q.eq(self.q),
            tree.k.eq(self.k),
            Assert(tree.sum + tree.carry - tree.offset == dot),
        ]
        return m


def test_an_smt_solver_agrees_where_it_ends() -> None:
    """Of two lanes; of three it takes minutes."""
    assert prove(Property("tree", "a tree is the dot product", Harness, 1, False))
