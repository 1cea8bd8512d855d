"""Layers at addresses of their own, and what the fetcher must read and stream of them."""

import numpy as np

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.cycles.tiles import load_beats
from dtqatten.golden.memory import head_table_bytes, list_bytes, tensor_bytes
from dtqatten.golden.numerics.codes import quantize
from dtqatten.golden.numerics.order import aligned, alternate, boundaries
from dtqatten.hw.memory.fetcher import Fetcher
from dtqatten.interface.descriptor import Flag, pack
from dtqatten.sim.lockstep.row_table import id_beats

CORE = Config(rows=2, cols=4, depth=2, value_depth=3, d_head=8, n_max=12, heads=4, topk_lanes=4,
              capacity=40)  # fmt: skip


SYSTEM = SystemConfig(core=CORE, bus_bits=64, burst_beats=4, buffer_bursts=2, address_bits=20)


STREAMS = ("q", "k", "v", "queries", "keys", "heads")


GAINS = Flag.Q_GAINS | Flag.K_GAINS | Flag.V_GAINS


class Layer:
    """A layer's data at addresses of its own.

    Parameters
    ----------
    rng : Generator
    memory : bytearray
        Gets the data.
    flags, heads, kv_heads
        Of the descriptor; CHAINED and the lists follow from what is given.
    stored, capacity : int
        Of K and V.
    ids : list of int, optional
        Places of the keys, 4-bit class first; all if None.
    positions : list of int, optional
        Of all places; given, ids are chained, else a list.
    four_bit : int
        Keys of the 4-bit class.
    queries : (list of int or int, int), optional
        Their positions, as a list or from the first on, and how many there are; those of the keys
        if None.
    query_four_bit : int
    """

    def __init__(self, rng, memory: bytearray, *, flags, heads, kv_heads, stored, capacity=None,
                 ids=None, positions=None, four_bit=0, queries=None,
                 query_four_bit=0) -> None:  # fmt: skip
        self.heads, self.kv_heads, self.four_bit = heads, kv_heads, four_bit
        capacity = capacity or stored
        chained = positions is not None
        self.flags = flags | (Flag.CHAINED if chained else Flag.KEY_LIST if ids else Flag(0))
        self.ids = ids or list(range(stored))
        before = positions or list(range(capacity))
        self.positions = [before[i] for i in self.ids]
        start = 0
        if queries is None:
            count = len(self.ids)
            self.queries, self.rows = self.positions, self.ids
            self.query_four_bit = four_bit
            assert chained or not ids
            self.flags |= Flag.QUERY_CHAINED if chained else Flag(0)
        else:
            given, count = queries
            self.rows = list(range(count))
            self.query_four_bit = query_four_bit
            if isinstance(given, list):
                self.queries = given
                self.flags |= Flag.QUERY_LIST
            else:
                start, self.queries = given, list(range(given, given + count))
        shapes = {"q": (heads, stored if self.flags & Flag.QUERY_CHAINED else count),
                  "k": (kv_heads, capacity), "v": (kv_heads, capacity)}  # fmt: skip
        self.codes = {
            name: quantize(rng.normal(size=(*shape, CORE.d_head))).codes
            for name, shape in shapes.items()
        }
        self.gains = {name: rng.integers(1, 256, s, np.uint8) for name, s in shapes.items()}
        self.factors = [(int(rng.integers(1 << 16)), int(rng.integers(41))) for _ in range(heads)]
        self.shift = int(rng.integers(8))
        # Chained, the descriptor's own class boundary is not looked at.
        self.fields = {"flags": int(self.flags), "heads": heads, "kv_heads": kv_heads,
                       "queries": count, "query_start": start, "stored": stored,
                       "capacity": capacity, "tokens": len(self.ids), "output_shift": self.shift,
                       "query_four_bit": self.query_four_bit,
                       "four_bit": 0xFFFF if chained else four_bit}  # fmt: skip
        for name, raw in (
            *((name, tensor_bytes(codes)) for name, codes in self.codes.items()),
            *((f"{name}_gains", gains.tobytes()) for name, gains in self.gains.items()),
            ("head_table", head_table_bytes(*zip(*self.factors, strict=True))),
            ("query_list", list_bytes(self.queries)),
            ("key_list", list_bytes(self.ids)),
        ):
            memory += bytes(-len(memory) % 64)
            self.fields[name] = len(memory)
            memory += raw

    async def set(self, ctx, dut: Fetcher) -> None:
        """Give the fetcher the layer, and let it read its lists."""
        ctx.set(dut.next.as_value(), int.from_bytes(pack(self.fields), "little"))
        ctx.set(dut.ahead, 1)
        while not ctx.get(dut.lists_read):
            await ctx.tick()
        ctx.set(dut.ahead, 0)
        raw = dict(self.fields) | {"query_four_bit": 0xFFFF}
        ctx.set(dut.layer.as_value(), int.from_bytes(pack(raw), "little"))
        ctx.set(dut.four_bit, self.four_bit)
        ctx.set(dut.query_four_bit, self.query_four_bit)
        ctx.set(dut.repeats, self.heads // self.kv_heads)

    def gain(self, name: str, flag: Flag, head: int, token: int) -> int:
        repeats = self.heads // len(self.gains[name])
        return int(self.gains[name][head // repeats, token]) if flag & self.flags else 256

    def beats(self) -> dict[str, list]:
        """Return what each stream gives."""
        tokens, queries = len(self.ids), len(self.queries)
        edges = boundaries(self.four_bit, tokens, CORE.rows, CORE.cols, CORE.group)
        edge = aligned(self.query_four_bit, queries, CORE.rows)
        order = alternate(edge, queries, CORE.rows)
        follows = bool(self.flags & Flag.FOLLOWS)
        follows_query = bool(self.flags & Flag.FOLLOWS_QUERY)
        found: dict[str, list] = {}
        for name, wide, nibbles, slots, places in (
            ("q", edge, CORE.load_nibbles, order, self.rows),
            ("k", edges.k, CORE.load_nibbles, np.arange(tokens), self.ids),
            ("v", edges.v, CORE.value_nibbles, np.arange(tokens), self.ids),
        ):
            repeats = self.heads // len(self.codes[name])
            found[name] = [
                (beat.nibbles.tolist(), int(beat.wide), int(beat.last))
                + ((int(follows),) if name == "v" else ())
                for head in range(self.heads)
                for beat in load_beats(
                    CORE,
                    self.codes[name][head // repeats][np.array(places)[slots]],
                    slots >= wide,
                    nibbles,
                )
            ]
        found["queries"] = [
            (
                self.queries[i],
                self.gain("q", Flag.Q_GAINS, head, self.rows[i]),
                int(follows_query and i < edge),
            )
            for head in range(self.heads)
            for i in order.tolist()
        ]
        found["keys"] = [
            (
                position,
                self.gain("k", Flag.K_GAINS, head, token),
                self.gain("v", Flag.V_GAINS, head, token),
                int(follows and slot < edges.v),
                int(slot == tokens - 1),
            )
            for head in range(self.heads)
            for slot, (token, position) in enumerate(zip(self.ids, self.positions, strict=True))
        ]
        causal, codes = (int(bool(self.flags & f)) for f in (Flag.CAUSAL, Flag.CODES))
        found["heads"] = [(m, s, causal, codes, self.shift) for m, s in self.factors]
        return found


def choose(tokens: int, rng) -> tuple[list[int], int]:
    """Return slots to keep, 4-bit class first, and how many are in it."""
    kept = rng.permutation(tokens)[: rng.integers(1, tokens + 1)].tolist()
    four_bit = int(rng.integers(0, len(kept) + 1))
    return sorted(kept[:four_bit]) + sorted(kept[four_bit:]), four_bit


def a_list(rng, count: int, below: int) -> tuple[list[int], int]:
    """Return ids of a list, 4-bit class first, and how many are in it."""
    four_bit = int(rng.integers(0, count + 1))
    ids = rng.permutation(below)[:count].tolist()
    return sorted(ids[:four_bit]) + sorted(ids[four_bit:]), four_bit


def chain(rng, shapes: list[tuple], memory: bytearray) -> tuple[list[Layer], list[list[dict]]]:
    """Return layers, and the ids that each keeps.

    A shape is flags, heads, kv_heads, where keys come from (``"chained"``, ``"list"`` or ``"all"``)
    and where queries do (likewise, or ``"keys"``).
    """
    layers: list[Layer] = []
    kept: list[list[dict]] = []
    chosen: tuple[list[int], int] = ([], 0)
    for flags, heads, kv_heads, keys, queries in shapes:
        options: dict = {"flags": flags, "heads": heads, "kv_heads": kv_heads}
        if keys == "chained":
            before = layers[-1]
            options |= {"ids": chosen[0], "four_bit": chosen[1], "positions": before.positions,
                        "stored": len(before.ids)}  # fmt: skip
        elif keys == "list":
            ids, four_bit = a_list(rng, int(rng.integers(1, CORE.n_max + 1)), 30)
            options |= {"ids": ids, "four_bit": four_bit, "stored": 30, "capacity": 40}
        else:
            options["stored"] = stored = CORE.n_max - len(layers) % 3
            options["four_bit"] = int(rng.integers(0, stored + 1))
        if queries != "keys":
            count = int(rng.integers(1, CORE.n_max + 1))
            ids, four_bit = a_list(rng, count, 40)
            start = int(rng.integers(0, 40 - count + 1))
            options |= {"queries": (ids if queries == "list" else start, count),
                        "query_four_bit": four_bit}  # fmt: skip
        layers.append(Layer(rng, memory, **options))
        chosen = choose(len(layers[-1].ids), rng)
        kept.append(id_beats(*chosen, CORE.topk_lanes))
    return layers, kept
