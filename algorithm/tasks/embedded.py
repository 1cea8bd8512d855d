"""Tasks that are judged by the embeddings of texts."""

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.session.session import Session
from dtqatten.algorithm.tasks.embedding import batches, embed, encoded, padded, pool
from dtqatten.algorithm.tasks.task import Progress, Score, Task

__all__ = ["Embedded", "Example", "labels_of"]


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


class Embedded(Task):
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
        """Embed each text once, and judge.

        Parameters
        ----------
        loaded, session, examples
            As of :meth:`dtqatten.algorithm.tasks.task.Task.score`.
        progress : callable, optional
            Called with texts done and texts in all.
        """
        texts = list(dict.fromkeys(text for example in examples for text in example.texts))
        place = {text: i for i, text in enumerate(texts)}
        rows, seconds = embed(loaded, texts, session, self.length, progress, self.together)
        index = torch.tensor([[place[text] for text in example.texts] for example in examples])
        with torch.no_grad():
            metric, loss, predicted = self.judge(loaded, rows[index], labels_of(examples))
        return Score(metric, float(loss), seconds, len(texts), predicted)

    def loss(self, loaded: Loaded, session: Session | None, examples: list[Example]) -> Tensor:
        """Cross-entropy of a batch."""
        return self.judge(loaded, self.rows(loaded, session, examples), labels_of(examples))[1]

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


def labels_of(examples: list[Example]) -> Tensor:
    """Labels of examples, ``[examples]``."""
    return torch.tensor([example.label for example in examples])
