"""Every field that core and writer get is the descriptor's."""

import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.memory.layer_commands import LayerCommands
from dtqatten.interface.descriptor import Flag, pack
from dtqatten.sim.engines.native import run

CORE = Config(rows=2, cols=2, depth=2, d_head=8, n_max=100)
FIELDS = {"heads": 7, "queries": 80, "tokens": 90, "k0": 50, "k1": 20,
          "output": 0x1000, "ids": 0x2000,
          "importance": 0x3000, "output_shift": 5}  # fmt: skip


@pytest.mark.parametrize("bit", [Flag(0), *Flag])
def test_fields_and_flags(bit: Flag) -> None:
    core = CORE.replace(cumulative=True, count_normalize=True)
    dut = LayerCommands(SystemConfig(core=core, address_bits=20))

    async def testbench(ctx) -> None:
        raw = int.from_bytes(pack(FIELDS | {"flags": bit}), "little")
        ctx.set(dut.layer.as_value(), raw)
        ctx.set(dut.query_four_bit, 40)
        writer, command = ctx.get(dut.for_writer), ctx.get(dut.for_core)
        assert writer.query_four_bit == 40
        assert (writer.form.codes, writer.form.shift) == (bit == Flag.CODES, 5)
        for name in ("heads", "queries", "tokens", "k0", "output", "ids", "importance"):
            assert writer[name] == FIELDS[name]
        assert writer.write_ids == (bit == Flag.IDS)
        assert writer.report == command.report == (bit == Flag.REPORT)
        for name in ("heads", "k0", "k1"):
            assert command[name] == FIELDS[name]
        optional = {"cumulative": Flag.CUMULATIVE, "fresh": Flag.FRESH, "count": Flag.COUNT}
        for name, which in optional.items():
            assert command[name] == (bit == which)

    run(dut, testbench)


def test_a_core_without_options_gets_none() -> None:
    dut = LayerCommands(SystemConfig(core=CORE, address_bits=20))

    async def testbench(ctx) -> None:
        ctx.set(dut.layer.flags, (1 << 32) - 1)
        command = ctx.get(dut.for_core)
        assert command.report == 1
        assert {name for name, _ in command.shape()} == {"heads", "k0", "k1", "report"}

    run(dut, testbench)
