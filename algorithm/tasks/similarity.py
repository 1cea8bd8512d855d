"""Similarity of sentence pairs."""

import csv
import random

import numpy as np
import torch
from torch import Tensor

from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.session.session import Session
from dtqatten.algorithm.tasks.embedded import Embedded, Example, labels_of

__all__ = ["STSB", "ranks"]


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks, equals sharing their mean rank."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[inverse]


class STSB(Embedded):
    """Similarity of sentence pairs: Spearman correlation of cosine and label, 0 to 5.

    The cross-entropy is that of the cosine, as a probability, against the label's fifth; training
    lowers their squared difference. The last quarter of the shuffled training set is to report;
    search and training share the rest.
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
        if part == "dev":
            return found
        random.Random(0).shuffle(found)
        seen = len(found) - len(found) // 4
        return found[seen:] if part == "test" else found[:seen]

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
        return (cosine - labels_of(examples) / 5).square().mean()
