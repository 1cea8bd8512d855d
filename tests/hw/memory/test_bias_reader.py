"""Biases of keys: each query head's, in the order of the list, two bytes each."""

from types import SimpleNamespace

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import bursts, runs
from dtqatten.hw.memory.bias_reader import BiasReader
from dtqatten.sim.engines.native import collect, run
from dtqatten.sim.lockstep.port_memory import PortMemory
from dtqatten.sim.lockstep.row_table import grant_runs

CORE = Config(rows=2, cols=2, depth=2, d_head=8, n_max=24, capacity=60, bias_heads=1)
SYSTEM = SystemConfig(core=CORE, bus_bits=64, burst_beats=4, buffer_bursts=2, address_bits=20)
DATA = np.random.default_rng(0).bytes(1 << 13)
PITCH = 2 * 60


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_layer_after_layer(stall: float) -> None:
    rng = np.random.default_rng(1)
    dut = BiasReader(SYSTEM)
    memory = PortMemory(SYSTEM, DATA, rng, stall)
    found, port = memory.reads(dut.port)
    # present, listed, tokens, query heads, group
    layers = [(1, 0, 24, 2, 1), (1, 1, 24, 6, 3), (0, 1, 24, 2, 1), (1, 1, 1, 3, 1)]
    layers += [(1, 0, 1, 4, 4), (1, 1, 17, 4, 2)]
    wanted, reads = [], []
    table: list[int] = []
    count = sum(present * tokens * heads for present, _, tokens, heads, _ in layers)
    taken, take = collect(dut.o, count, rng, stall, lambda p: (p["bias"], p["last"], p["head"]))
    reader = SimpleNamespace(asked=dut.asked, index=dut.index[0], granted=dut.granted,
                             run=dut.run, count=dut.count)  # fmt: skip

    async def testbench(ctx) -> None:
        for number, (present, listed, tokens, heads, group) in enumerate(layers):
            # The second one's cross a page.
            base = (64, 4032, 1024)[number % 3]
            places = list(range(tokens))
            if listed:
                places = sorted(rng.choice(60, tokens, replace=False).tolist(), key=lambda i: i % 2)
            table[:] = places
            plan = {"base": base, "capacity": 60, "heads": heads, "repeats": 1, "tokens": tokens,
                    "listed": listed}  # fmt: skip
            ctx.set(dut.plan, plan)
            ctx.set(dut.present, present)
            ctx.set(dut.group, group)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for head in range(heads if present else 0):
                at = base + head * PITCH
                for number_of, place in enumerate(places):
                    raw = DATA[at + 2 * place : at + 2 * place + 2]
                    wanted.append((int.from_bytes(raw, "little", signed=True),
                                   int(number_of == tokens - 1),
                                   int(head % group == group - 1)))  # fmt: skip
                for first, count in runs(places):
                    reads.extend(bursts(SYSTEM, at + 2 * first, 2 * count))
            await ctx.tick()
            while not ctx.get(dut.idle):
                await ctx.tick()
            assert len(taken) >= len(wanted) - 1, number

    grants = grant_runs(reader, table, rng, stall)
    run(dut, testbench, take, background=[port, grants], deadline=20_000)
    assert taken == wanted
    assert found == reads
