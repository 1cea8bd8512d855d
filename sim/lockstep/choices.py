"""Cycles of the blocks that follow choices: slots of chosen groups, and biases of keys."""

from collections import deque
from collections.abc import Iterator

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.hw.memory.chosen_slots import slots_layout
from dtqatten.hw.payloads.octaves import bias_layout
from dtqatten.hw.payloads.softmax import tiles
from dtqatten.hw.softmax.bias_store import BiasStore
from dtqatten.sim.engines.ports import pack_payload
from dtqatten.sim.lockstep.script import Cycle

__all__ = ["bias_store_cycles", "chosen_slot_cycles"]


def chosen_slot_cycles(
    config: Config, rng: np.random.Generator, heads: int, stall: float
) -> Iterator[Cycle]:
    """Yield cycles of :class:`~dtqatten.hw.memory.chosen_slots.ChosenSlots`, list after list.

    Parameters
    ----------
    config : Config
    rng : Generator
    heads : int
    stall : float
        Probability that a group does not come, that a slot is not taken.
    """
    depth, layout = config.key_tiles * config.parts, slots_layout(config)

    def groups(tokens: int) -> list[tuple[int, int]]:
        found = [
            (at, min(at + config.group, tile + config.cols) - at)
            for tile in range(0, tokens, config.cols)
            for at in range(tile, min(tile + config.cols, tokens), config.group)
        ]
        some = rng.random(len(found)) < rng.choice([0.2, 0.6, 1.0])
        some[rng.integers(len(found))] = True
        return [group for group, keep in zip(found, some, strict=True) if keep]

    for _ in range(heads // 3):
        tokens = int(rng.choice([1, 2, config.n_max, int(rng.integers(1, config.n_max + 1))]))
        chosen = [(group, of) for of in (groups(tokens) for _ in range(3)) for group in of]
        coming = deque((first, n, (first, n) == of[-1]) for (first, n), of in chosen)
        held: deque[deque[tuple[int, bool]]] = deque()
        while coming or held:
            offered, ready = bool(coming) and rng.random() >= stall, len(held) < depth
            inputs = {"tokens": tokens, "groups__valid": int(offered)}
            if offered:
                names = ("first", "tokens", "last")
                fields = dict(zip(names, map(int, coming[0]), strict=True))
                inputs["groups__payload"] = pack_payload(layout, fields)
            expected = {"valid": int(bool(held)), "groups__ready": int(ready)}
            if held:
                slot, ends = held[0][0]
                expected |= {"slot": slot, "last": int(ends)}
                inputs["next"] = int(rng.random() >= stall)
            yield inputs, expected
            if inputs.get("next"):
                held[0].popleft()
                if not held[0]:
                    held.popleft()
            if offered and ready:
                first, n, last = coming.popleft()
                end = min(first + n, tokens)
                held.append(deque((slot, last and slot == end - 1) for slot in range(first, end)))


def bias_store_cycles(
    config: Config, rng: np.random.Generator, heads: int, stall: float
) -> Iterator[Cycle]:
    """Yield cycles of :class:`~dtqatten.hw.softmax.bias_store.BiasStore`, head after head.

    Parameters
    ----------
    config : Config
    rng : Generator
    heads : int
    stall : float
        Probability that a bias does not come, that no row asks.
    """
    layout, cols = bias_layout(), config.cols
    made = [
        rng.integers(
            -(2**15),
            2**15,
            (rng.integers(1, config.bias_heads + 1), rng.integers(1, config.n_max + 1)),
        )
        for _ in range(heads)
    ]
    coming = deque(
        (int(bias), at == head.shape[1] - 1, member == len(head) - 1)
        for head in made
        for member, row in enumerate(head)
        for at, bias in enumerate(row)
    )
    # Heads that are here, and that take room; when rooms are free, and what is read when.
    here, takes, first, asks, time = 0, 0, 0, 0, 0
    room = True
    frees: set[int] = set()
    members: dict[int, int] = {}
    words: dict[int, int] = {}
    while first < heads or words:
        offered = bool(coming) and rng.random() >= stall
        inputs = {"i__valid": int(offered), "tile": int(rng.integers(tiles(config)))}
        if offered:
            bias, last, of_head = coming[0]
            fields = {"bias": bias, "last": last, "head": of_head}
            inputs["i__payload"] = pack_payload(layout, fields)
        expected = {"i__ready": int(room), "ready": int(here > 0)}
        release = False
        if here and rng.random() >= stall:
            head = made[first]
            member = int(rng.integers(len(head)))
            tile = int(rng.integers(-(-head.shape[1] // cols)))
            inputs["tile"] = tile
            word = head[member, tile * cols : tile * cols + cols].tolist()
            # Lanes past the last key have its bias, too.
            word += [word[-1]] * (cols - len(word))
            packed = sum((bias & 0xFFFF) << 16 * lane for lane, bias in enumerate(word))
            members[time + BiasStore.MEMBER], words[time + BiasStore.LATENCY] = member, packed
            asks += 1
            release = bool(rng.random() < asks / 20)
        inputs["release"] = int(release)
        if config.bias_heads > 1:
            inputs["member"] = members.pop(time, int(rng.integers(config.bias_heads)))
        if time in words:
            expected["biases"] = words.pop(time)
        yield inputs, expected
        closes = False
        if offered and room:
            closes = all(coming.popleft()[1:])
        takes += closes - (time in frees)
        room, here = takes != 2, here + closes - release
        if release:
            frees.add(time + BiasStore.READ)
            first, asks = first + 1, 0
        time += 1
