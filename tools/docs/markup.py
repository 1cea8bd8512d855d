"""What docstrings have beyond numpydoc, as Markdown: roles, literal blocks, ports of components."""

import re

__all__ = ["markdown"]

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`(~?)([\w.]+)`")

#: The type of a parameter or result, which is set as code anyway.
TYPED = re.compile(r"^\s*(?:[\w*, ]+ : .*|\w+ arrays? ``\[.*)$", re.MULTILINE)


def markdown(text: str) -> str:
    """Return a docstring's text with Sphinx's roles and literal blocks as Markdown.

    A role becomes a link where the site has its target, else code.
    """

    def link(role: "re.Match[str]") -> str:
        path = role[2]
        shown = path.rsplit(".", 1)[-1] if role[1] else path
        return f'<autoref optional identifier="{path}"><code>{shown}</code></autoref>'

    text = ROLE.sub(link, TYPED.sub(lambda line: line[0].replace("``", ""), text))
    text = re.sub(r" ?::$", ":", text, flags=re.MULTILINE)
    return re.sub(r"^(\s*)Members\n(\s*)-------$", r"\1Attributes\n\2----------", text, flags=re.M)
