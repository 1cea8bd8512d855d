"""Each check of the fields alone, as the values of one descriptor give it."""

import pytest
from amaranth.hdl import Const, Module, Signal

from dtqatten import Config
from dtqatten.hw.memory.descriptor import chain_layout, descriptor_layout
from dtqatten.hw.memory.field_checks import field_checks
from dtqatten.interface.descriptor import Flag, pack
from dtqatten.interface.registers import ErrorCode
from dtqatten.sim.engines.native import run

CONFIG = Config(rows=2, cols=2, depth=2, d_head=8, n_max=12, heads=4, capacity=16)
ADDRESS = 0x100
GOOD = {"heads": 4, "kv_heads": 2, "queries": 12, "query_four_bit": 12, "query_start": 4,
        "stored": 12, "capacity": 16, "tokens": 12, "four_bit": 12, "k0": 12, "k1": 12,
        "next": 0x140}  # fmt: skip
BEFORE = {"valid": 1, "tokens": 12, "k0": 9, "k1": 4, "cumulative": 0}


def failures(fields: dict[str, int], remainder: int = 0) -> list[ErrorCode]:
    """Return the codes of all checks that a descriptor fails, in their order."""
    layout = chain_layout(CONFIG)
    descriptor, before = Signal(descriptor_layout()), Signal(layout)
    checks = field_checks(
        CONFIG,
        descriptor,
        before,
        address=Const(ADDRESS, 20),
        remainder=Const(remainder, 16),
        rows=descriptor.queries,
    )
    m, found = Module(), []
    fails = {code: Signal(name=code.name.lower()) for code, _ in checks}
    m.d.comb += [fails[code].eq(condition) for code, condition in checks]

    async def testbench(ctx) -> None:
        ctx.set(descriptor.as_value(), int.from_bytes(pack(fields), "little"))
        ctx.set(before, BEFORE)
        found.extend(code for code, signal in fails.items() if ctx.get(signal))

    run(m, testbench)
    return found


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, []),
        ({"flags": Flag.V_GAINS}, [ErrorCode.FLAGS]),
        ({"output_shift": 1}, [ErrorCode.FLAGS]),
        ({"flags": Flag.CODES, "output_shift": 7}, []),
        ({"heads": 0}, [ErrorCode.NO_HEADS]),
        ({"heads": 5}, [ErrorCode.TOO_MANY_HEADS]),
        ({"kv_heads": 0}, [ErrorCode.KV_HEADS]),
        ({"stored": 13, "tokens": 13}, [ErrorCode.TOO_MANY_TOKENS]),
        ({"queries": 13, "query_start": 3}, [ErrorCode.TOO_MANY_TOKENS]),
        ({"four_bit": 13}, [ErrorCode.TOKENS]),
        ({"flags": Flag.CHAINED, "tokens": 9, "k0": 9, "k1": 9, "four_bit": 0}, []),
        ({"flags": Flag.CHAINED, "four_bit": 0}, [ErrorCode.TOKENS]),
        ({"query_four_bit": 13}, [ErrorCode.QUERIES]),
        ({"flags": Flag.CHAINED | Flag.QUERY_CHAINED, "tokens": 9, "k0": 9, "k1": 9,
          "four_bit": 0, "queries": 9, "query_four_bit": 0, "query_start": 0}, []),
        ({"flags": Flag.CHAINED | Flag.QUERY_CHAINED, "tokens": 9, "k0": 9, "k1": 9,
          "four_bit": 0, "queries": 8}, [ErrorCode.QUERIES, ErrorCode.POSITIONS]),
        ({"flags": Flag.KEY_LIST, "stored": 16}, []),
        ({"flags": Flag.KEY_LIST, "stored": 11}, [ErrorCode.TOKENS]),
        ({"flags": Flag.KEY_LIST, "stored": 17}, [ErrorCode.CAPACITY]),
        ({"flags": Flag.QUERY_LIST}, [ErrorCode.POSITIONS]),
        ({"flags": Flag.QUERY_LIST, "query_start": 0}, []),
        ({"capacity": 11}, [ErrorCode.CAPACITY]),
        ({"capacity": 17}, [ErrorCode.CAPACITY]),
        ({"query_start": 5}, [ErrorCode.POSITIONS]),
        ({"k0": 0, "k1": 0}, [ErrorCode.K0]),
        ({"k0": 11}, [ErrorCode.K1]),
        ({"next": ADDRESS}, [ErrorCode.CHAIN]),
        ({"next": 0}, []),
        ({"stored": 0, "tokens": 0, "four_bit": 0},
         [ErrorCode.NO_TOKENS, ErrorCode.K0]),
        ({"queries": 0, "query_four_bit": 0}, [ErrorCode.NO_TOKENS]),
    ],
)  # fmt: skip
def test_fields_and_their_codes(changes: dict[str, int], codes: list[ErrorCode]) -> None:
    assert failures(GOOD | changes) == codes


def test_heads_are_shared_evenly() -> None:
    assert failures(GOOD, remainder=1) == [ErrorCode.KV_HEADS]
