"""Classes of texts, by a probe on embeddings of the unquantized model."""

from pathlib import Path

import torch
from torch import Tensor

from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.session.session import Session
from dtqatten.algorithm.tasks import news
from dtqatten.algorithm.tasks.embedded import Embedded, Example, labels_of
from dtqatten.algorithm.tasks.embedding import embed
from dtqatten.algorithm.tasks.task import Progress, Score

__all__ = ["BBC", "BBC512", "SST2"]


class _Probe(Embedded):
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
            labels = labels_of(examples).long()
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
        """Train the probe first, if it is not.

        Parameters
        ----------
        loaded, session, examples, progress
            As of :meth:`dtqatten.algorithm.tasks.embedded.Embedded.score`.
        """
        self.fit(loaded)
        return super().score(loaded, session, examples, progress)

    def judge(self, loaded: Loaded, rows: Tensor, labels: Tensor) -> tuple[float, Tensor, Tensor]:
        """Accuracy and cross-entropy of the probe."""
        logits = self.fit(loaded)(rows[:, 0]) * 10
        goal = labels.long()
        right = (logits.argmax(-1) == goal).float().mean()
        return float(right), torch.nn.functional.cross_entropy(logits, goal), logits.log_softmax(-1)


class SST2(_Probe):
    """Sentiment of sentences.

    Of the training sentences the last 600 are to search, the 1000 before them to report.
    """

    def examples(self, loaded: Loaded, part: str) -> list[Example]:
        """Sentences."""
        if (rows := self.table("sst2", part)) is not None:
            found = [Example((row["sentence"],), int(row["label"])) for row in rows]
        else:
            path = self.file("sst2", "dev.tsv" if part == "dev" else "train.tsv")
            lines = [line.rsplit("\t", 1) for line in path.read_text("utf-8").splitlines() if line]
            found = [Example((text,), int(label)) for text, label in lines]
        part_of = {
            "fit": slice(-1600),
            "test": slice(-1600, -600),
            "train": slice(-600, None),
            "dev": slice(None),
        }
        return found[part_of[part]]


class BBC(_Probe):
    """Topic of news articles: 800 to train the probe, 200 to search, 600 to choose.

    To report are those of the others that the corpus holds once; some are in it twice, here and
    there in two parts.
    """

    length = 128
    steps = 60

    def examples(self, loaded: Loaded, part: str) -> list[Example]:
        """Articles."""
        if part == "test":
            return news.single(slice(1600, None))
        part_of = {"fit": slice(800), "train": slice(800, 1000), "dev": slice(1000, 1600)}
        return news.articles()[part_of[part]]


class BBC512(BBC):
    """The same at up to 512 tokens, 404 on average: too long to be fine-tuned in a report."""

    length = 512
    together = 4
    steps = 0
    brief = True
