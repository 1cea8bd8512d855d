"""The C driver as a library on the host; a CPU with a write-back cache before a simulated bus."""

import ctypes
import mmap
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dtqatten.boards.c_layers import given
from dtqatten.boards.c_sources import SOURCES
from dtqatten.driver.blocks import Block
from dtqatten.driver.bus import Bus
from dtqatten.driver.expected import Expected
from dtqatten.driver.heads import read_report
from dtqatten.interface.descriptor import SIZE, pack
from dtqatten.interface.regions import region_sizes

LINE = 64
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wcast-qual")
#: Tensors of a layer by the names of their address fields.
TENSORS = {
    name: number
    for names, first in (
        ("q k v head_table q_gains k_gains v_gains query_list key_list held", 0),
        ("key_bias output ids importance head_report", 11),
    )
    for number, name in enumerate(names.split(), first)
}
OUTCOMES = [
    *("OK", "RUNNING", "NO_MACHINE", "OTHER_VERSION", "BAD_MEMORY", "BAD_CHAIN", "NO_CONTENTS"),
    *("NO_ROOM", "MACHINE_ERROR", "ABORTED", "TIMED_OUT", "NOT_IDLE", "STALE"),
]

_POINTER, _WORD = ctypes.c_void_p, ctypes.c_uint32
READ = ctypes.CFUNCTYPE(_WORD, _POINTER, _WORD)
WRITE = ctypes.CFUNCTYPE(None, _POINTER, _WORD, _WORD)
MAINTAIN = ctypes.CFUNCTYPE(None, _POINTER, _POINTER, ctypes.c_size_t)
NOW = ctypes.CFUNCTYPE(_WORD, _POINTER)
IDLE = ctypes.CFUNCTYPE(None, _POINTER)


class Port(ctypes.Structure):
    _fields_ = (
        ("context", _POINTER),
        ("read", READ),
        ("write", WRITE),
        ("clean", MAINTAIN),
        ("invalidate", MAINTAIN),
        ("now", NOW),
        ("idle", IDLE),
        ("timeout", _WORD),
    )


class Memory(ctypes.Structure):
    _fields_ = (
        ("start", _POINTER),
        ("address", ctypes.c_uint64),
        ("size", ctypes.c_size_t),
        ("used", ctypes.c_size_t),
        ("kept", ctypes.c_size_t),
    )


class CLayer(ctypes.Structure):
    _fields_ = (
        ("descriptor", ctypes.c_uint64 * (SIZE // 8)),
        ("tensors", _POINTER * 16),
        ("complete", ctypes.c_bool),
        ("following", _POINTER),
        ("address", ctypes.c_uint64),
    )


class Region(ctypes.Structure):
    _fields_ = (
        ("tensor", ctypes.c_int),
        ("written", ctypes.c_bool),
        ("bytes", ctypes.c_uint64),
    )


class Machine(ctypes.Structure):
    _fields_ = (
        ("port", _POINTER),
        ("inputs", _POINTER),
        ("outputs", _POINTER),
        ("d_head", _WORD),
        ("length", _WORD),
        ("placed", _WORD),
        ("done", _WORD),
        ("error", ctypes.c_int),
        ("error_address", ctypes.c_uint64),
        ("begun", ctypes.c_bool),
        ("started", ctypes.c_bool),
        ("aborting", ctypes.c_bool),
        ("since", _WORD),
        ("pending", _POINTER),
        ("last", _POINTER),
        ("reserved", _POINTER),
    )


def compile_library(folder: Path) -> ctypes.CDLL:
    """Compile the driver with the host's compiler, as sanitized as a library can be."""
    sources = [path for name, path in SOURCES.items() if name.endswith(".c")]
    library = folder / "driver.so"
    trap = ("-fsanitize=undefined", "-fno-sanitize-recover", "-fsanitize-undefined-trap-on-error")
    command = ["gcc", *WARNINGS, *trap, "-O1", "-shared", "-fPIC", "-o", library, *sources]
    subprocess.run(command, check=True)
    loaded = ctypes.CDLL(str(library))
    for name in ("error_name", "outcome_name", "outcome_meaning"):
        getattr(loaded, f"dtqatten_{name}").restype = ctypes.c_char_p
    for name in ("take", "keep"):
        function = getattr(loaded, f"dtqatten_{name}")
        function.restype, function.argtypes = _POINTER, (_POINTER, ctypes.c_uint64)
    loaded.dtqatten_regions.restype = ctypes.c_size_t
    return loaded


class CachedCpu:
    """A CPU whose cache is written back and dropped by the driver alone, and in between at random.

    What it sees of memory is a copy, in lines. Lines that it has changed are written back now and
    then, as a cache evicts them: whoever leaves changed lines where the machine writes loses.

    Parameters
    ----------
    bus : Bus
    base : int
        First byte of the memory that is cached.
    size : int
        Of it.
    """

    def __init__(self, bus: Bus, base: int, size: int, seed: int = 0) -> None:
        self.bus, self.base, self.size = bus, base, size
        self._map = mmap.mmap(-1, size)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.seen = np.frombuffer(self._map, np.uint8)
        self.rng = np.random.default_rng(seed)
        # Nothing in it is known.
        self.seen[:] = self.rng.integers(0, 256, size, dtype=np.uint8)
        self.kept = self.seen.copy()

    def _lines(self, start: int, size: int) -> tuple[int, int]:
        first = (start - self.start) // LINE * LINE
        last = -(-(start - self.start + size) // LINE) * LINE
        assert 0 <= first <= last <= self.size
        return first, last

    def clean(self, start: int, size: int) -> None:
        first, last = self._lines(start, size)
        self._write_back(first, last)

    def _write_back(self, first: int, last: int) -> None:
        changed = self.seen[first:last] != self.kept[first:last]
        for line in np.flatnonzero(changed.reshape(-1, LINE).any(1)):
            at = first + LINE * int(line)
            self.bus.write(self.base + at, self.seen[at : at + LINE].tobytes())
            self.kept[at : at + LINE] = self.seen[at : at + LINE]

    def invalidate(self, start: int, size: int) -> None:
        first, last = self._lines(start, size)
        data = np.frombuffer(self.bus.read(self.base + first, last - first), np.uint8)
        self.seen[first:last] = self.kept[first:last] = data

    def evict(self) -> None:
        """Write back all that has changed, once in a while."""
        if self.rng.random() < 0.05:
            self._write_back(0, self.size)

    def scribble(self, start: int, size: int) -> None:
        """Change what the CPU sees, without telling anyone."""
        at = start - self.start
        self.seen[at : at + size] ^= 0xFF


class CDriver:
    """A machine opened by the C driver.

    Parameters
    ----------
    library : CDLL
    cpu : CachedCpu
        The upper quarter of its memory is for outputs.
    """

    def __init__(
        self, library: ctypes.CDLL, cpu: CachedCpu, *, idle: bool = True, timeout: int = 20_000
    ) -> None:
        self.library, self.cpu, bus = library, cpu, cpu.bus
        self.ticks = 0

        def read(_: object, offset: int) -> int:
            cpu.evict()
            return bus.read_register(offset)

        def write(_: object, offset: int, value: int) -> None:
            cpu.evict()
            bus.write_register(offset, value)

        def now(_: object) -> int:
            return (self.ticks + 0xFFFFFF00) & 0xFFFFFFFF

        def wait(_: object) -> None:
            self.wait()

        self.port = Port(
            None,
            READ(read),
            WRITE(write),
            MAINTAIN(lambda _, start, size: cpu.clean(start, size)),
            MAINTAIN(lambda _, start, size: cpu.invalidate(start, size)),
            NOW(now),
            IDLE(wait) if idle else IDLE(),
            timeout,
        )
        border = cpu.size * 3 // 4
        self.inputs = Memory(cpu.start, cpu.base, border, 0, 0)
        self.outputs = Memory(cpu.start + border, cpu.base + border, cpu.size - border, 0, 0)
        self.machine = Machine()
        self.layers: list[CLayer] = []

    def wait(self) -> None:
        """Let time pass."""
        self.cpu.bus.run(500)  # type: ignore[attr-defined]
        self.ticks += 500

    def call(self, name: str, *args: object) -> str:
        """Call a function of the driver on the machine; return its outcome's name."""
        function = getattr(self.library, f"dtqatten_{name}")
        return OUTCOMES[function(ctypes.byref(self.machine), *args)]

    def open(self) -> str:
        return self.call(
            "open",
            ctypes.byref(self.port),
            ctypes.byref(self.inputs),
            ctypes.byref(self.outputs),
        )

    def prepare(self, chain: Sequence[Block], **spoiled: int) -> None:
        """Fill the structs of a chain; ``spoiled`` are fields that all layers get instead."""
        self.layers, self._contents = [], []
        for fields, contents in given(chain):
            layer = CLayer()
            raw = pack(fields | spoiled)
            ctypes.memmove(ctypes.byref(layer), raw, SIZE)
            for name, data in contents.items():
                # Anywhere in the host's memory.
                buffer = ctypes.create_string_buffer(data, len(data))
                self._contents.append(buffer)
                layer.tensors[TENSORS[name]] = ctypes.addressof(buffer)
            self.layers.append(layer)

    def add(self, number: int) -> str:
        return self.call("add", ctypes.byref(self.layers[number]))

    def run(self) -> str:
        """Run the chain that is prepared."""
        array = (CLayer * len(self.layers))(*self.layers)
        outcome = self.call("run", ctypes.byref(array), len(self.layers))
        self.layers = list(array)
        return outcome

    def bytes_at(self, address: int, size: int) -> bytes:
        """Return what the CPU sees."""
        at = address - self.cpu.start
        return self.cpu.seen[at : at + size].tobytes()

    def compare(self, chain: Sequence[Block], wanted: Sequence[Expected]) -> None:
        """Compare what the CPU sees of the results with the golden model's, bit by bit."""
        for number, (layer, golden) in enumerate(zip(chain, wanted, strict=True)):
            fields, _ = list(given(chain))[number]
            c_layer = self.layers[number]
            assert c_layer.complete
            for name, found in self.results(layer, fields, c_layer):
                if name == "output":
                    kind = "i1" if layer.options.output_bits == 8 else "<i2"
                    codes = layer.query_heads(np.frombuffer(found, kind), fields["heads"])
                    assert np.array_equal(codes, golden.outputs.output), number
                elif name == "ids":
                    assert np.array_equal(np.frombuffer(found, "<u2"), golden.ids), number
                elif name == "importance":
                    values = np.frombuffer(found, "<u4")
                    assert np.array_equal(values, golden.outputs.importance), number
                else:
                    kept, values = read_report(np.frombuffer(found, "<u4"), layer.keep_heads)
                    assert np.array_equal(kept, np.flatnonzero(golden.kept_heads)), number
                    assert np.array_equal(values, golden.head_importance), number

    def results(
        self, layer: Block, fields: dict[str, int], c_layer: CLayer
    ) -> Iterator[tuple[str, bytes]]:
        for name, size, written in region_sizes(fields, layer.q.codes.shape[2]):
            if written:
                yield name, self.bytes_at(c_layer.tensors[TENSORS[name]], size)
