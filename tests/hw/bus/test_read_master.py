"""The read master: bursts in turn, answers by ID in any order, nothing outside the window."""

from collections import deque

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.axi import Response
from dtqatten.hw.bus.read_master import ReadMaster
from dtqatten.sim.engines.native import collect, offer, run, watch

CORE = Config(rows=1, cols=1, depth=1, d_head=8, n_max=4)
SYSTEM = SystemConfig(core=CORE, bus_bits=64, address_bits=20, burst_beats=4, buffer_bursts=2)
WIDTH, PAGE_WORDS = SYSTEM.bus_bytes, 4096 // SYSTEM.bus_bytes
WINDOW = {"base": 2, "limit": 5}
FIRST, END = 2 * PAGE_WORDS, 6 * PAGE_WORDS  # words of the window


def word_of(number: int) -> int:
    """Return what is in memory at a word."""
    return number * 0x9E3779B97F4A7C15 & (1 << 64) - 1


def request_of(word: int, beats: int, offset: int = 0, width: int = 3) -> dict[str, int]:
    """Return a request: beats of the whole bus, or one of ``2**width`` bytes at ``offset``."""
    return {"word": word, "beats": beats, "offset": offset, "width": width}


async def prepare(ctx, dut, window=WINDOW) -> None:
    ctx.set(dut.window, window)


def answers(dut, due: list[deque[int]], rng, stall: float):
    """Return a background testbench that answers ``due`` words, IDs interleaved at random."""

    async def testbench(ctx) -> None:
        while True:
            waiting = [i for i, words in enumerate(due) if words]
            ctx.set(dut.r.valid, 0)
            if waiting and rng.random() >= stall:
                i = int(rng.choice(waiting))
                word = due[i].popleft()
                ctx.set(dut.r.valid, 1)
                ctx.set(dut.r.p, {"id": i, "data": word_of(word), "resp": int(rng.integers(2))})
            await ctx.tick()

    return testbench


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("streams", [1, 2, 5])
def test_bursts_in_turn_answers_by_id(streams: int, stall: float) -> None:
    rng = np.random.default_rng(streams)
    dut = ReadMaster(SYSTEM, streams)
    # First and last burst of the window, then anything inside it.
    shapes = [(FIRST, 4), (END - 4, 4), (FIRST, 1), (END - 1, 1)]
    wanted = [[request_of(*shape) for shape in shapes] for _ in range(streams)]
    for bursts in wanted:
        for number in range(25):
            beats = 1 if number % 3 == 0 else int(rng.integers(1, 5))
            width = int(rng.integers(0, 4)) if beats == 1 else 3
            offset = int(rng.integers(0, WIDTH >> width)) << width
            word = int(rng.integers(FIRST, END - beats))
            bursts.append(request_of(word, beats, offset, width))
    count = sum(map(len, wanted))
    due: list[deque[int]] = [deque() for _ in range(streams)]
    expected = [
        [w for r in bursts for w in range(r["word"], r["word"] + r["beats"])] for bursts in wanted
    ]
    came: list[list[int]] = [[] for _ in range(streams)]
    addresses, sink = collect(dut.ar, count, rng, stall, lambda p: (p.id, p.addr, p.len, p.size))
    counted = {"issued": 0, "stalled": 0, "came": 0}

    async def monitor(ctx) -> None:
        waiting: set[int] = set()
        turns = dict.fromkeys(range(streams), 0)
        outstanding = 0
        while True:
            valids = [port.request.valid for port in dut.ports]
            readies = [port.request.ready for port in dut.ports]
            beats = [port.request.p.beats for port in dut.ports]
            found = [port.answer for port in dut.ports]
            _, _, ready, valid, address, comes, idle, issued, stalled, asked_bytes, word, *rest = (
                await ctx.tick().sample(
                    dut.ar.ready, dut.ar.valid, dut.ar.p, dut.r.valid, dut.idle, dut.issued,
                    dut.stalled, dut.asked_bytes, dut.r.p.data, *valids, *readies, *beats, *found,
                )
            )  # fmt: skip
            asked, taken, sizes, answered = (
                rest[i * streams : (i + 1) * streams] for i in range(4)
            )
            assert idle == (outstanding == 0)
            assert (issued, stalled) == (ready and valid, valid and not ready)
            counted["issued"] += issued
            if issued:
                assert asked_bytes == (address.len + 1) << address.size
            counted["stalled"] += stalled
            counted["came"] += comes
            assert sum(answered) == comes
            assert sum(taken) <= 1
            for i in range(streams):
                if answered[i]:
                    came[i].append(word)
                if taken[i]:
                    outstanding += sizes[i]
                    # Nobody has been passed over twice by the same stream.
                    turns = {j: 0 if j == i else n + (j in waiting) for j, n in turns.items()}
                    assert max(turns.values()) < streams
            outstanding -= comes
            waiting = {i for i in range(streams) if asked[i] and not taken[i]}
            if ready and valid:
                start = address.addr // WIDTH
                due[address.id].extend(range(start, start + address.len + 1))

    async def last(ctx) -> None:
        await prepare(ctx, dut)
        while any(len(c) < len(e) for c, e in zip(came, expected, strict=True)):
            await ctx.tick()
        await ctx.tick()
        assert ctx.get(dut.idle)
        assert not ctx.get(dut.outside)

    def request(i: int):
        """Return a testbench that requests no more than a stream has room for."""

        async def testbench(ctx) -> None:
            port, asked = dut.ports[i], 0
            for request in wanted[i]:
                beats = request["beats"]
                while rng.random() < stall or asked + beats - len(came[i]) > SYSTEM.buffer_beats:
                    await ctx.tick()
                asked += beats
                await offer(port.request, [request], rng)(ctx)

        return testbench

    sources = map(request, range(streams))
    run(dut, last, *sources, sink, background=[monitor, answers(dut, due, rng, stall)])
    for i, bursts in enumerate(wanted):
        mine = [rest for id_, *rest in addresses if id_ == i]
        assert mine == [
            [r["word"] * WIDTH + r["offset"], r["beats"] - 1, r["width"]] for r in bursts
        ]
        assert came[i] == [word_of(w) for w in expected[i]]
    assert counted["issued"] == count
    assert counted["came"] == sum(map(len, expected))
    assert (counted["stalled"] > 0) == (stall > 0)


def test_latency_and_throughput() -> None:
    dut = ReadMaster(SYSTEM, 2)
    rng = np.random.default_rng(0)
    logs, monitors = zip(
        *map(watch, (dut.ports[0].request, dut.ports[1].request, dut.ar)), strict=True
    )

    async def ready(ctx) -> None:
        await prepare(ctx, dut)
        ctx.set(dut.ar.ready, 1)

    bursts = [{"word": FIRST + 4 * i, "beats": 4} for i in range(10)]
    sources = [offer(port.request, bursts, rng) for port in dut.ports]

    async def end(ctx) -> None:
        await ctx.tick().repeat(30)

    run(dut, ready, end, *sources, background=monitors)
    taken = sorted((cycle, i) for i in range(2) for cycle, _ in logs[i])
    # Whose turn it is, is decided a cycle ahead.
    assert taken == [(cycle, (cycle + 1) % 2) for cycle in range(1, 21)]
    assert [(cycle, p.id) for cycle, p in logs[2]] == [(c + 2, i) for c, i in taken]


def test_late_streams_have_what_the_others_leave() -> None:
    """They request a word for each cycle in which none came, up to a burst more than that."""
    dut = ReadMaster(SYSTEM, 2)
    rng = np.random.default_rng(0)
    burst = {"word": FIRST, "beats": 4}
    logs, monitors = zip(*(watch(port.request) for port in dut.ports), strict=True)
    busy: list[int] = []
    waiting: list[int] = []

    async def testbench(ctx) -> None:
        await prepare(ctx, dut)
        ctx.set(dut.ar.ready, 1)
        ctx.set(dut.late, 0b10)
        ctx.set(dut.r.p, {"id": 0})
        for port in dut.ports:
            ctx.set(port.request.p, burst)
        early = False
        for cycle in range(600):
            # A request stays until it is taken.
            early = cycle < 100 or early or (cycle < 400 and cycle % 8 == 0)
            comes = int(cycle >= 500 or rng.random() < 0.6)
            ctx.set(dut.ports[0].request.valid, int(early))
            ctx.set(dut.ports[0].more, int(cycle < 99))
            ctx.set(dut.ports[1].request.valid, 1)
            ctx.set(dut.r.valid, comes)
            busy.append(comes)
            taken = ctx.get(dut.ports[0].request.ready)
            early = early and not taken
            waiting.extend([cycle] * early)
            await ctx.tick()

    run(dut, testbench, background=list(monitors))
    late = [cycle for cycle, _ in logs[1]]
    # Never before the other one, whose turn is the next cycle, nor when words come without a gap.
    assert not any(cycle < 100 or cycle - 1 in waiting for cycle in late)
    assert max(late) < 510
    for cycle in range(100, 500):
        asked = 4 * sum(100 <= each < cycle for each in late)
        spare = sum(1 - each for each in busy[100:cycle])
        # What was spare before, up to two bursts, and in advance all but a word of a burst. What
        # is requested in a cycle without a word has that one, too.
        assert asked <= spare + 7 + 3
    # With nobody else, all of it is used: but for the cycles in which it requests.
    used = 4 * sum(400 <= each < 500 for each in late)
    assert used >= sum(1 - each for each in busy[400:500]) * 3 // 4 - 4


@pytest.mark.parametrize("outside", [FIRST - 1, FIRST - 4, 0, END, END + 3, 16 * PAGE_WORDS - 1])
def test_nothing_outside_the_window_is_issued(outside: int) -> None:
    dut = ReadMaster(SYSTEM, 2)

    async def testbench(ctx) -> None:
        await prepare(ctx, dut)
        ctx.set(dut.ar.ready, 1)
        request = dut.ports[1].request
        ctx.set(request.p, {"word": outside, "beats": 1})
        ctx.set(request.valid, 1)
        await ctx.tick()
        for _ in range(10):
            await ctx.tick()
            assert ctx.get(dut.outside)
            assert ctx.get(dut.address) == outside * WIDTH
            assert not ctx.get(request.ready)
            assert not ctx.get(dut.idle)
            assert not ctx.get(dut.ar.valid)
        ctx.set(dut.stop, 1)
        await ctx.tick()
        assert not ctx.get(dut.outside)
        assert not ctx.get(request.ready)
        assert ctx.get(dut.idle)

    run(dut, testbench)


def test_an_empty_window_lets_nothing_through() -> None:
    dut = ReadMaster(SYSTEM, 1)

    async def testbench(ctx) -> None:
        ctx.set(dut.window, {"base": 1, "limit": 0})
        ctx.set(dut.ar.ready, 1)
        request = dut.ports[0].request
        for page in (0, 1, 2, 255):
            ctx.set(dut.stop, 0)
            ctx.set(request.p, {"word": page * PAGE_WORDS, "beats": 1})
            ctx.set(request.valid, 1)
            await ctx.tick().repeat(2)
            ctx.set(request.valid, 0)
            await ctx.tick()
            assert ctx.get(dut.outside)
            assert not ctx.get(dut.ar.valid)
            ctx.set(dut.stop, 1)
            await ctx.tick()

    run(dut, testbench)


def test_stop_keeps_what_is_on_offer_and_issues_no_more() -> None:
    dut = ReadMaster(SYSTEM, 1)

    async def testbench(ctx) -> None:
        await prepare(ctx, dut)
        request = dut.ports[0].request
        ctx.set(request.p, {"word": FIRST, "beats": 2})
        ctx.set(request.valid, 1)
        await ctx.tick().repeat(2)
        ctx.set(request.p, {"word": FIRST + 4, "beats": 4})
        await ctx.tick().repeat(2)  # one is on offer, the bus is not ready; the next one is chosen
        ctx.set(request.p, {"word": FIRST + 8, "beats": 3})
        ctx.set(dut.stop, 1)
        for _ in range(5):
            assert ctx.get(dut.ar.valid)
            assert ctx.get(dut.ar.p.addr) == FIRST * WIDTH
            assert ctx.get(dut.stalled)
            assert not ctx.get(dut.idle)
            await ctx.tick()
        ctx.set(dut.ar.ready, 1)
        await ctx.tick()
        for word in range(2):
            assert not ctx.get(dut.ar.valid)
            assert not ctx.get(request.ready)
            assert not ctx.get(dut.idle)
            ctx.set(dut.r.valid, 1)
            ctx.set(dut.r.p, {"id": 0, "data": word, "last": int(word == 1)})
            await ctx.tick()
        ctx.set(dut.r.valid, 0)
        assert ctx.get(dut.idle)
        ctx.set(dut.stop, 0)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.ar.valid)
        assert ctx.get(dut.ar.p.addr) == (FIRST + 8) * WIDTH
        assert ctx.get(dut.ar.p.len) == 2

    run(dut, testbench)


@pytest.mark.parametrize("response", [Response.SLVERR, Response.DECERR])
@pytest.mark.parametrize("failing", [0, 1, 3])
def test_an_error_on_any_beat_is_reported_with_its_word(failing: int, response: Response) -> None:
    dut = ReadMaster(SYSTEM, 3)

    async def testbench(ctx) -> None:
        await prepare(ctx, dut)
        ctx.set(dut.ar.ready, 1)
        request = dut.ports[2].request
        ctx.set(request.p, {"word": END - 4, "beats": 4})
        ctx.set(request.valid, 1)
        await ctx.tick().repeat(2)
        ctx.set(request.valid, 0)
        await ctx.tick().repeat(2)
        ctx.set(dut.r.valid, 1)
        for beat in range(4):
            for i, port in enumerate(dut.ports):
                ctx.set(port.answered, (END - 4 + beat) * WIDTH + 3 if i == 2 else i)
            answer = response if beat == failing else Response.EXOKAY
            ctx.set(dut.r.p, {"id": 2, "resp": answer, "last": int(beat == 3)})
            assert ctx.get(dut.failed) == (beat == failing)
            assert ctx.get(dut.address) == (END - 4 + beat) * WIDTH + 3
            assert ctx.get(dut.stream) == 2
            assert ctx.get(dut.ports[2].answer)
            await ctx.tick()
        ctx.set(dut.r.valid, 0)
        ctx.set(dut.r.p, {"id": 2, "resp": response})
        assert not ctx.get(dut.failed)
        assert ctx.get(dut.idle)
        # The address is that of the answer, also while a burst is outside the window.
        ctx.set(request.p, {"word": END, "beats": 1})
        ctx.set(request.valid, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.address) == END * WIDTH
        ctx.set(dut.r.valid, 1)
        assert ctx.get(dut.outside)
        assert ctx.get(dut.failed)
        assert ctx.get(dut.address) == (END - 1) * WIDTH + 3

    run(dut, testbench)
