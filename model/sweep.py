"""Cycles and utilization of many machines on many workloads, by the cycle model, in parallel."""

import csv
import itertools
import math
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, fields
from io import StringIO
from typing import Any, TypeVar

from dtqatten.configuration.changes import changed
from dtqatten.configuration.core import Config, ConfigError
from dtqatten.configuration.system import SystemConfig
from dtqatten.model.core import CoreRun, fit, run_core
from dtqatten.model.workload import Workload

__all__ = [
    "UM2_PER_MULTIPLIER",
    "Point",
    "Result",
    "bus_beats",
    "evaluate",
    "executor",
    "on_bus",
    "points",
    "run",
    "to_csv",
]

T = TypeVar("T")

#: A pod of preset base, at 45 nm and 1 GHz, over its multipliers:
#: ``dtqatten synth --target asic --preset base --block pe``, docs/synthesis.md.
UM2_PER_MULTIPLIER = 175.9


@dataclass(frozen=True)
class Point:
    """A machine on a bus and a workload.

    ``machine`` is a preset's name, with what differs from it.
    """

    machine: str
    config: Config
    workload: Workload
    bus_bits: int


@dataclass(frozen=True)
class Result:
    """A row of the table.

    Attributes
    ----------
    machine : str
    rows, cols, depth, value_depth, multipliers : int
    pe_mm2 : float
        PEs of both arrays by :data:`UM2_PER_MULTIPLIER`; buffers and all else come on top.
    bus_bits : int
    tokens : int
        Before pruning.
    share_0, share_4, share_8 : float
    follows, follows_query : bool
    head_cycles : int
        The core's, or the bus's where that needs more.
    bus_busy : float
        Share of them in which the read or the write channel is busy, whichever is busier.
    limit_share, score_array, value_array : float
        See :class:`~dtqatten.model.core.CoreRun`: share of the physical limit, and of the cycles
        in which each array worked.
    gops : float
        Operations of the original model per ns, at 1 GHz.
    """

    machine: str
    rows: int
    cols: int
    depth: int
    value_depth: int
    multipliers: int
    pe_mm2: float
    bus_bits: int
    tokens: int
    share_0: float
    share_4: float
    share_8: float
    follows: bool
    follows_query: bool
    head_cycles: int
    bus_busy: float
    limit_share: float
    score_array: float
    value_array: float
    gops: float


def points(
    machines: Mapping[str, Config],
    changes: Mapping[str, Sequence[object]],
    tokens: Sequence[int],
    mixes: Sequence[tuple[float, float, float]],
    *,
    d_head: int = 64,
    follows: bool = False,
    follows_query: bool = False,
    buses: Sequence[int] = (128,),
) -> list[Point]:
    """Return every combination of machines and workloads.

    Parameters
    ----------
    machines : mapping
        Configurations by name.
    changes : mapping
        Values to try for fields of the configuration, in all combinations.
    tokens : sequence of int
    mixes : sequence of tuple
        Shares of 0, 4 and 8-bit tokens.
    d_head : int
    follows, follows_query : bool
    buses : sequence of int
        Widths of the bus, bits.

    Raises
    ------
    ConfigError
        If a machine is impossible: the message names it.
    """
    found = []
    for (machine, start), values in itertools.product(
        machines.items(), itertools.product(*changes.values())
    ):
        other = dict(zip(changes, values, strict=True))
        name = " ".join([machine, *(f"{key}={value}" for key, value in other.items())])
        for n, shares, bits in itertools.product(tokens, mixes, buses):
            workload = Workload(
                tokens=n,
                d_head=d_head,
                shares=shares,
                follows=follows,
                follows_query=follows_query,
            )
            try:
                config = fit(changed(start, **other), workload)
                SystemConfig(core=config, bus_bits=bits)
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from None
            found.append(Point(name, config, workload, bits))
    return found


def bus_beats(config: Config, workload: Workload, bus_bits: int) -> int:
    """Return the beats of a head on the read or the write channel, whichever has more.

    Read are the planes of Q, K and V, none in one word with another, and written 16-bit outputs,
    a channel pass at a time.
    """
    limits, kept = workload.clustered(config)
    planes = 6 * kept - limits.q - limits.k - limits.v
    read = planes * math.ceil(4 * config.d_head / bus_bits)
    tail = config.d_head - (config.channel_passes - 1) * config.cols
    widths = [*[config.cols] * (config.channel_passes - 1), tail]
    return max(read, kept * sum(math.ceil(16 * channels / bus_bits) for channels in widths))


def on_bus(point: Point) -> tuple[CoreRun, int, int]:
    """Return a point's run, its bus's beats of a head, and the cycles of a head with both."""
    run = run_core(point.config, point.workload)
    beats = bus_beats(point.config, point.workload, point.bus_bits)
    return run, beats, max(run.head_cycles, beats)


def evaluate(point: Point) -> Result:
    """Return a point's row."""
    config, workload = point.config, point.workload
    ran, beats, cycles = on_bus(point)
    core_share = ran.head_cycles / cycles
    return Result(
        point.machine,
        config.rows,
        config.cols,
        config.depth,
        config.group,
        config.multipliers,
        config.multipliers * UM2_PER_MULTIPLIER / 1e6,
        point.bus_bits,
        workload.tokens,
        *workload.shares,
        workload.follows,
        workload.follows_query,
        cycles,
        beats / cycles,
        ran.limit_share * core_share,
        ran.busy["score_array"] * core_share,
        ran.busy["value_array"] * core_share,
        2 * workload.macs / cycles,
    )


def _end_silently() -> None:
    """Let Ctrl-C, which a terminal sends to all processes, end this one without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def executor(workers: int | None, dask: str | None) -> Iterator[Executor]:
    """Yield what runs points: processes here, or the workers of a Dask scheduler.

    Parameters
    ----------
    workers : int or None
        Processes; as many as there are cores if None.
    dask : str or None
        Address of a scheduler, such as ``tcp://host:8786``; its workers need this package.

    Raises
    ------
    OSError
        If the scheduler does not answer.
    """
    if dask is None:
        pool = ProcessPoolExecutor(workers, initializer=_end_silently)
        try:
            yield pool
        finally:
            # After Ctrl-C nobody waits for what has not begun.
            pool.shutdown(cancel_futures=True)
        return
    from distributed import Client

    with Client(dask, timeout="10s") as client:
        yield client.get_executor(pure=False)


def run(
    work: Sequence[Point],
    pool: Executor,
    tell: Callable[[T], object],
    each: Callable[[Point], T],
) -> list[T]:
    """Return what ``each`` finds at some points, in their order.

    ``tell`` hears each result when it is there.
    """
    futures = {pool.submit(each, point): at for at, point in enumerate(work)}
    results: dict[int, T] = {}
    for future in as_completed(futures):
        results[futures[future]] = future.result()
        tell(future.result())
    return [results[at] for at in range(len(work))]


def to_csv(results: Sequence[Any], columns: type[Any]) -> str:
    """Return rows of a dataclass as CSV, a line each below their names."""
    text = StringIO()
    names = [field.name for field in fields(columns)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(result, name) for name in names] for result in results)
    return text.getvalue()
