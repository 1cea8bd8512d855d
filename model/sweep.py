"""Cycles and utilization of many machines on many workloads, by the cycle model, in parallel."""

import csv
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, fields
from io import StringIO

from dtqatten.config import PRESETS, Config, ConfigError
from dtqatten.model.core import fit, run_core
from dtqatten.model.workload import Workload

__all__ = ["Point", "Result", "executor", "points", "run", "to_csv"]


@dataclass(frozen=True)
class Point:
    """A machine and a workload; ``machine`` is a preset's name, with what differs from it."""

    machine: str
    config: Config
    workload: Workload


@dataclass(frozen=True)
class Result:
    """A row of the table.

    Attributes
    ----------
    machine : str
    rows, cols, depth, multipliers : int
    tokens : int
        Before pruning.
    share_0, share_4, share_8 : float
    follows : bool
    head_cycles : int
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
    multipliers: int
    tokens: int
    share_0: float
    share_4: float
    share_8: float
    follows: bool
    head_cycles: int
    limit_share: float
    score_array: float
    value_array: float
    gops: float


def points(
    presets: Sequence[str],
    changes: Mapping[str, Sequence[object]],
    tokens: Sequence[int],
    mixes: Sequence[tuple[float, float, float]],
    *,
    d_head: int = 64,
    follows: bool = False,
) -> list[Point]:
    """Return every combination of machines and workloads.

    Parameters
    ----------
    presets : sequence of str
    changes : mapping
        Values to try for fields of the configuration, in all combinations.
    tokens : sequence of int
    mixes : sequence of tuple
        Shares of 0, 4 and 8-bit tokens.
    d_head : int
    follows : bool

    Raises
    ------
    ConfigError
        If a machine is impossible: the message names it.
    """
    found = []
    for preset, values in itertools.product(presets, itertools.product(*changes.values())):
        changed = dict(zip(changes, values, strict=True))
        name = " ".join([preset, *(f"{key}={value}" for key, value in changed.items())])
        for n, shares in itertools.product(tokens, mixes):
            workload = Workload(tokens=n, d_head=d_head, shares=shares, follows=follows)
            try:
                config = fit(PRESETS[preset].replace(**changed), workload)
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from None
            found.append(Point(name, config, workload))
    return found


def evaluate(point: Point) -> Result:
    """Return a point's row."""
    config, workload = point.config, point.workload
    ran = run_core(config, workload)
    return Result(
        point.machine,
        config.rows,
        config.cols,
        config.depth,
        config.multipliers,
        workload.tokens,
        *workload.shares,
        workload.follows,
        ran.head_cycles,
        ran.limit_share,
        ran.busy["score_array"],
        ran.busy["value_array"],
        2 * workload.macs / ran.head_cycles,
    )


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
        with ProcessPoolExecutor(workers) as pool:
            yield pool
        return
    from distributed import Client

    with Client(dask, timeout="10s") as client:
        yield client.get_executor(pure=False)


def run(work: Sequence[Point], pool: Executor, tell: Callable[[Result], object]) -> list[Result]:
    """Return the results of some points in their order; ``tell`` hears each when it is there."""
    futures = {pool.submit(evaluate, point): at for at, point in enumerate(work)}
    results: dict[int, Result] = {}
    for future in as_completed(futures):
        results[futures[future]] = future.result()
        tell(future.result())
    return [results[at] for at in range(len(work))]


def to_csv(results: Sequence[Result]) -> str:
    """Return results as CSV, a line each below their names."""
    text = StringIO()
    names = [field.name for field in fields(Result)]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(result, name) for name in names] for result in results)
    return text.getvalue()
