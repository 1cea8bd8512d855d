"""What MkDocs calls: it adds the generated pages, and reads Markdown as GitHub does.

Markdown in the repository is written for GitHub; Python-Markdown wants a blank line before a list
or a table, and knows no files outside ``docs/``.
"""

import posixpath
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import command_pages
import port_pages
import python_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from dtqatten import PRESETS

__all__ = ["generated", "on_files", "on_page_markdown", "with_blank_lines"]

ROOT = Path(__file__).parents[2]
#: Pages made of files outside the docs.
OUTSIDE = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}

#: Links to generated pages, which exist on the site only, by the text that has them.
GENERATED_LINKS = {
    "ports and payloads of every block, at each preset": "ports and payloads of every block: "
    + ", ".join(f"[{preset}](ports/{preset}.md)" for preset in PRESETS),
    "commands and their options": "[commands and their options](commands.md)",
    "Python: `dtqatten` and its main packages": "Python: "
    + ", ".join(f"[{name}](python/{name}.md)" for name in python_pages.PAGES),
}

LIST = re.compile(r"([-*]|\d+\.) ")
FENCE = re.compile(r"\s*(```|~~~)")
LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+\.md)(?P<anchor>#[^)\s]*)?(?=\))")


def generated() -> dict[str, Callable[[], str]]:
    """Return what writes each generated page, by its path below the docs."""
    pages: dict[str, Callable[[], str]] = {
        page: partial((ROOT / path).read_text, "utf-8") for page, path in OUTSIDE.items()
    }
    for preset in PRESETS:
        pages[f"reference/ports/{preset}.md"] = partial(port_pages.page, preset)
    pages["reference/commands.md"] = command_pages.page
    for name in python_pages.PAGES:
        pages[f"reference/python/{name}.md"] = partial(python_pages.page, name)
    return pages


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, write in generated().items():
        files.append(File.generated(config, path, content=write()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page as Python-Markdown needs it."""
    uri = page.file.src_uri
    if uri == "reference/index.md":
        for text, links in GENERATED_LINKS.items():
            assert text in markdown, text
            markdown = markdown.replace(text, links)
    return with_blank_lines(LINK.sub(lambda link: _target(uri, link), markdown))


def _target(page: str, link: "re.Match[str]") -> str:
    """Return a link's target on the site, where it names a file of the repository."""
    folder = posixpath.dirname(OUTSIDE.get(page, f"docs/{page}"))
    path = posixpath.normpath(posixpath.join(folder, link["path"]))
    pages: dict[str, Any] = {outside: page for page, outside in OUTSIDE.items()}
    uri = pages.get(path, path.removeprefix("docs/"))
    return posixpath.relpath(uri, posixpath.dirname(page) or ".") + (link["anchor"] or "")


def with_blank_lines(markdown: str) -> str:
    """Return Markdown with a blank line before each list and table that follows a paragraph."""
    lines: list[str] = []
    fence = False
    for line in markdown.split("\n"):
        before = lines[-1] if lines else ""
        if FENCE.match(line):
            fence = not fence
        elif not fence and before.strip() and not before.startswith((" ", "#", "|", "<")):
            starts_list = LIST.match(line) and not LIST.match(before)
            if starts_list or (line.startswith("|") and not before.startswith("|")):
                lines.append("")
        lines.append(line)
    return "\n".join(lines)
