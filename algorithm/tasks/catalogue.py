"""The tasks by name."""

import os
from pathlib import Path

from dtqatten.algorithm.tasks.classes import BBC, BBC512, SST2
from dtqatten.algorithm.tasks.perplexity import BBCText, WikiText2
from dtqatten.algorithm.tasks.similarity import STSB
from dtqatten.algorithm.tasks.task import DATA_VARIABLE, Task, TaskError

__all__ = ["TASKS", "open_task"]

#: Tasks by name.
TASKS: dict[str, type[Task]] = {
    "stsb": STSB,
    "sst2": SST2,
    "bbc": BBC,
    "bbc512": BBC512,
    "ppl-bbc": BBCText,
    "ppl-wikitext2": WikiText2,
}


def open_task(name: str, data: Path | None = None, limit: int | None = None) -> Task:
    """Return a task by name, with the data folder of the environment if none is given.

    Raises
    ------
    TaskError
        If there is no such task or ``limit`` is less than 1.
    """
    if name not in TASKS:
        raise TaskError(f"no task {name!r}: choose one of {', '.join(TASKS)}")
    if limit is not None and limit < 1:
        raise TaskError(f"limit is {limit}: give at least 1 example")
    if data is None and os.environ.get(DATA_VARIABLE):
        data = Path(os.environ[DATA_VARIABLE])
    task = TASKS[name](data, limit)
    task.name = name
    return task
