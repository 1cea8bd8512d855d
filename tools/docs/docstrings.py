"""What docstrings have beyond numpydoc becomes Markdown before mkdocstrings reads them."""

from typing import Any

import griffe
from markup import markdown

__all__ = ["Docstrings"]


class Docstrings(griffe.Extension):
    """Rewrite every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite an object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)
