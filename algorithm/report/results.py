"""Rows measured so far, and the measuring of those that are missing."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dtqatten import __version__
from dtqatten.algorithm.block.operands import BASE_ARRAYS
from dtqatten.algorithm.evaluate import evaluate
from dtqatten.algorithm.finetune import finetuned
from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.report.methods import Method
from dtqatten.algorithm.report.numbers import numbers_of
from dtqatten.algorithm.tasks.task import Score, Task
from dtqatten.files.errors import UsageError
from dtqatten.files.locks import alone
from dtqatten.files.revision import revision
from dtqatten.files.whole import write_text

__all__ = ["METHODS", "Results", "set_of"]

#: Study of rows that compare methods.
METHODS = "methods"


class Results:
    """Rows measured so far, kept in a JSON file that is rewritten after each.

    Runs may share a file: each change is made to what the file holds then.

    Parameters
    ----------
    path : Path
        ``accuracy.json``: a list of rows. A row is not measured again while its policy, format of
        numbers, part and texts, their number and length included, are the same. It says by which
        version and commit it was measured.
    start : Path, optional
        Rows to begin with where there is no such file.

    Raises
    ------
    UsageError
        If the file is damaged, or a row does not say which texts it was measured on.
    """

    def __init__(self, path: Path, start: Path | None = None) -> None:
        self.path = path
        self._start = start
        self.rows: list[dict[str, Any]] = self._kept()
        if not isinstance(self.rows, list) or any("data" not in row for row in self.rows):
            raise UsageError(
                f"{path} has rows that do not say how many texts, and which, they were measured "
                "on: move it away to measure anew, or give another file with --results"
            )

    def _kept(self) -> list[dict[str, Any]]:
        """Return what the file holds; what there is to begin with if there is none."""
        path = self.path if self.path.is_file() or self._start is None else self._start
        if not path.is_file():
            return []
        try:
            rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"{path} is no JSON of rows ({error}): move it away") from None
        return rows

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Take the rows that the file holds by now, change them, and write them, alone.

        Rows that are as they were stay the same objects.
        """
        with alone(self.path.with_name(f".{self.path.name}.lock")):
            self.rows = [next((r for r in self.rows if r == row), row) for row in self._kept()]
            yield
            write_text(self.path, self.to_json())

    def save(self) -> None:
        """Write the file, also if its rows are those that there were to begin with."""
        with self._changing():
            pass

    def to_json(self) -> str:
        """Return the text of the file."""
        return json.dumps(self.rows, indent=1) + "\n"

    def find(self, key: str) -> dict[str, Any] | None:
        """Return the row with a key, None if it is not there."""
        return next((row for row in self.rows if row.get("key") == key), None)

    def plain(self, loaded: Loaded, data: dict[str, Any]) -> Score | None:
        """Return the plain model's score on texts as a row has it; None if none does.

        Parameters
        ----------
        loaded : Loaded
        data : dict
            What the texts are, of :meth:`dtqatten.algorithm.tasks.task.Task.data_of`.
        """
        same = {"model": loaded.name, **data}
        row = next((row for row in self.rows if same.items() <= row.items()), None)
        if row is None:
            return None
        return Score(row["float_metric"], math.nan, row["float_seconds"], row["sequences"])

    def add(self, row: dict[str, Any]) -> None:
        """Add a row in place of what the same method gave on the same texts before."""
        with self._changing():
            old = [
                i
                for i, r in enumerate(self.rows)
                if set_of(r) == set_of(row) and r["method"] == row["method"]
            ]
            if old:
                self.rows[old[0]] = row
            else:
                self.rows.append(row)

    def keep(
        self,
        model: str,
        task: str,
        order: Sequence[str],
        data: str | None = None,
        study: str = METHODS,
    ) -> None:
        """Put a model's and task's rows of a study into an order, and drop other methods.

        Parameters
        ----------
        model, task : str
            Names that the rows have.
        order : sequence of str
            Names of methods.
        data : str, optional
            Hash of the rows' texts; None if all rows are of the same.
        study : str
        """
        with self._changing():
            own = [
                r
                for r in self.rows
                if set_of(r)[:3] == (study, model, task) and data in (None, r.get("data"))
            ]
            named = {row["method"]: row for row in own}
            ordered = [named[name] for name in order if name in named]
            # Tasks stay in the order in which they were first measured.
            place = min((i for i, r in enumerate(self.rows) if r in own), default=0)
            rest = [r for r in self.rows if r not in own]
            self.rows = rest[:place] + ordered + rest[place:]

    def measure(
        self,
        loaded: Loaded,
        task: Task,
        method: Method,
        reference: Callable[[str], Score],
        progress: Callable[[int, int], None] | None = None,
        *,
        parts: Sequence[str] = ("dev",),
        study: str = METHODS,
        renew: bool = False,
    ) -> list[dict[str, Any]]:
        """Measure a method on parts unless its rows are there, and return them.

        What another study measured under the same key is taken over.

        Parameters
        ----------
        loaded : Loaded
        task : Task
        method : Method
        reference : callable
            Returns the plain model's score on a part; called only if the row is missing.
        progress : callable, optional
            Called with what is done and what there is in all.
        parts : sequence of str
            Of the task.
        study : str
            That the rows belong to.
        renew : bool
            Measure even if the rows are there.
        """
        name, policy, mode, steps = method
        what = policy.replace(record={}).to_json()
        numbers = numbers_of(policy, mode)
        tuned: Loaded | None = None
        rows = []
        for part in parts:
            data = task.data_of(loaded, part)
            text = json.dumps(
                [what, mode, loaded.name, task.name, numbers, data, steps, *rules(policy)]
            )
            key = hashlib.sha256(text.encode()).hexdigest()[:16]
            own = {"study": study, "method": name}
            same = [] if renew else [row for row in self.rows if row.get("key") == key]
            found = next((r for r in same if own.items() <= r.items()), None)
            if found is None and same:
                found = {**same[0], **own}
                self.add(found)
            if found is None:
                # First: a probe is trained by the plain model's score.
                score = reference(part)
                if steps and tuned is None:
                    tuned = finetuned(
                        loaded, task, policy, steps, mode=mode, seed=policy.seed, progress=progress
                    )
                result = evaluate(
                    tuned or loaded,
                    task,
                    policy,
                    mode,
                    part=part,
                    reference=score,
                    progress=progress,
                )
                said = {"seed": policy.seed, "mode": str(mode), "numbers": numbers, **data}
                made = {"version": __version__, "commit": revision()}
                found = {**own, **result.row(), **said, **made, "key": key}
                self.add(found)
            rows.append(found)
        return rows


def rules(policy: Policy) -> list[dict[str, Any]]:
    """Return what a policy's figures depend on besides: the arrays whose tiles count."""
    return [dataclasses.asdict(BASE_ARRAYS)] if policy.by_arrays else []


def set_of(row: dict[str, Any]) -> tuple[str, str, str, str | None]:
    """What rows have in common that can be compared: study, model, task and texts."""
    return row.get("study", METHODS), row["model"], row["task"], row.get("data")
