"""Perplexity of causal models on windows of a text."""

import math
import time
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.session.session import Session
from dtqatten.algorithm.tasks import news
from dtqatten.algorithm.tasks.task import Progress, Score, Task, TaskError

__all__ = ["BBCText", "Perplexity", "WikiText2"]


class Perplexity(Task):
    """Perplexity of a causal model on windows without overlap.

    The examples are windows ``[length]`` of token ids. Each begins as a text does (``begin``), so
    that a beginning-of-text token is in every window or in none.
    """

    metric = "perplexity"
    larger_is_better = False
    causal = True
    steps = 16
    batch = 1
    calibrating = 2
    length = 512
    #: Windows of a part at most; of ``dev`` and ``test`` all.
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
        begin = torch.tensor(loaded.begin, dtype=torch.long)
        own = self.length - len(begin)
        number = len(ids) // own
        if not number:
            raise TaskError(f"the text has {len(ids)} tokens, less than a window of {own}")
        number = min(self.windows.get(part, number), number)
        return [torch.cat((begin, each)) for each in torch.tensor(ids[: number * own]).split(own)]

    def score(
        self,
        loaded: Loaded,
        session: Session | None,
        examples: list[Tensor],
        progress: Progress | None,
    ) -> Score:
        """Perplexity of windows.

        Parameters
        ----------
        loaded, session, examples, progress
            As of :meth:`dtqatten.algorithm.tasks.task.Task.score`.
        """
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
    """Perplexity on BBC articles: the first 120 to choose, the last 40 to search.

    To report are those of 120 others that the corpus holds once, to train those before them.
    """

    def text(self, part: str) -> str:
        """Return articles."""
        if part == "test":
            found = news.single(slice(400, 520))
        else:
            part_of = {"dev": slice(120), "train": slice(-40, None), "fit": slice(120, 400)}
            found = news.articles()[part_of[part]]
        return "\n\n".join(article.texts[0] for article in found)


class WikiText2(Perplexity):
    """Perplexity on WikiText-2's validation set, lightly detokenized.

    The first quarter is to choose, the second to train, the third to report, the last to search.
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
        place = {"dev": 0, "fit": 1, "test": 2, "train": 3}[part]
        return text[place * quarter : None if part == "train" else (place + 1) * quarter]
