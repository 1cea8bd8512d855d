"""The documentation site: its generated pages are right, it builds, and a browser shows it."""

import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main

from dtqatten import PRESETS
from dtqatten.cli import app
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import flat_ports
from dtqatten.hw.base.port_list import fields
from dtqatten.hw.blocks import Block, build

ROOT = Path(__file__).parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
#: No sandbox, for containers; no traffic of its own.
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of tools/docs by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "docs"))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


@pytest.fixture(
    params=[
        pytest.param((block, config), id=f"{block} of {preset}")
        for preset, config in PRESETS.items()
        for block in Block
    ]
)
def component(request: pytest.FixtureRequest) -> Any:
    block, config = request.param
    made = build(block, SystemConfig(core=config))
    # Amaranth warns of components that are not elaborated: here the signature is all.
    made._MustUse__used = True
    return made


def test_ports_are_those_of_the_verilog(component: Any, tool: Any) -> None:
    listed = [(p.name, p.direction, p.bits) for p in tool("port_pages").ports(component)]
    assert sorted(listed) == sorted(
        (name, flow.name.lower(), len(value))
        for name, flow, value in flat_ports(component.signature, component)
    )


def test_fields_fill_their_payloads(component: Any, tool: Any) -> None:
    pages = tool("port_pages")
    for port in pages.ports(component):
        assert port.meaning or port.name.endswith("__ready") or "_axi" in port.name, port.name
        if port.layout is not None:
            end = 0
            for name, low, bits, _ in fields(port.layout):
                assert low == end, f"{port.name}: {name}"
                end += bits
            assert end == port.bits, port.name


def test_payloads_are_explained(tool: Any) -> None:
    """Each by the docstring of its layout."""
    text = tool("port_pages").page("base")
    sections = re.findall(r"^\*\*`(\w+)`\*\* ?(.*)$", text, re.MULTILINE)
    assert len(sections) > 40
    assert not [name for name, meaning in sections if not meaning]


def test_the_page_of_commands_has_all_commands_and_options(tool: Any) -> None:
    text = tool("command_pages").page()
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__
        assert f"\n## dtqatten {name}\n" in text
    assert "| `--preset` | `str` | One of tiny, edge, base, paper. |" in text
    assert "| `-o`, `--output` | `dir` | Folder to write to; by default build/verilog/" in text


@pytest.mark.parametrize("name", ["machine", "memory", "passes"])
def test_drawings_are_up_to_date(name: str, tool: Any) -> None:
    drawn = tool("drawings").DRAWINGS[name]().svg()
    committed = (ROOT / "docs" / "images" / f"{name}.svg").read_text("utf-8")
    assert drawn == committed, "run: python tools/docs/drawings.py"


def test_commands_of_groups_are_among_the_commands(tool: Any) -> None:
    app = typer.Typer()
    group = typer.Typer()
    app.command("one")(lambda: None)
    group.command("show")(lambda: None)
    group.command("check")(lambda: None)
    app.add_typer(group, name="config")
    found = tool("command_pages").commands("dtqatten", typer.main.get_command(app))
    names = ["dtqatten one", "dtqatten config show", "dtqatten config check"]
    assert sorted(name for name, _ in found) == sorted(names)


def test_docstrings_become_markdown(tool: Any) -> None:
    convert = tool("markup").markdown
    link = '<autoref optional identifier="a.b"><code>{}</code></autoref>'
    assert convert("as :func:`~a.b` and :class:`a.b`") == (
        f"as {link.format('b')} and {link.format('a.b')}"
    )
    assert convert("the schedule ::\n\n    x") == "the schedule:\n\n    x"
    assert convert("q : array ``[n, d]``\n    As ``k``.") == "q : array [n, d]\n    As ``k``."
    assert convert("Members\n-------\ni : In(1)") == "Attributes\n----------\ni : In(1)"


# What follows needs the extra docs, and the last part a browser.


@pytest.fixture(scope="module")
def mkdocs_is_installed() -> None:
    for package in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        parent = package.split(".", 1)[0]
        if importlib.util.find_spec(parent) is None or importlib.util.find_spec(package) is None:
            pytest.skip("the extra docs is not installed: pip install -e '.[docs]'")


@pytest.mark.usefixtures("mkdocs_is_installed")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("text\n- a\n- b", "text\n\n- a\n- b"),
        ("text\n| a |\n|---|", "text\n\n| a |\n|---|"),
        ("- a\n  b\n- c", "- a\n  b\n- c"),
        ("text\n```\n- a\n| b |\n```", "text\n```\n- a\n| b |\n```"),
        ("# head\n- a", "# head\n- a"),
    ],
)
def test_lists_and_tables_may_follow_a_paragraph(before: str, after: str, tool: Any) -> None:
    assert tool("hooks").with_blank_lines(before) == after


@pytest.mark.usefixtures("mkdocs_is_installed")
@pytest.mark.parametrize(
    "link", ["gone.md", "index.md#nowhere", "/index.md", "../../README.md", "gone"]
)
def test_a_broken_link_fails(link: str, tmp_path: Path) -> None:
    from mkdocs.commands.build import build as build_site
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Title\n\n[this]({link})\n", "utf-8")
    config = load_config(
        str(ROOT / "mkdocs.yml"),
        docs_dir=str(tmp_path / "docs"),
        site_dir=str(tmp_path / "site"),
        **{"nav": None, "plugins": [], "hooks": [], "extra_css": []},
    )
    with pytest.raises(Abort, match="strict mode"):
        build_site(config)


@pytest.fixture(scope="module")
def site(mkdocs_is_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_pages_need_no_other_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text("utf-8")
        loaded = re.findall(r"<(?:link|script|img|iframe)\b[^>]*?(?:href|src)=\"?([^\" >]+)", text)
        assert not [url for url in loaded if re.match(r"(https?:)?//", url)], page.name
        # Marks that were not understood.
        assert "``" not in re.sub(r"<(pre|script)\b.*?</\1>", "", text, flags=re.DOTALL), page
        assert not re.findall(r":(?:class|func|mod|meth|data):", text), page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_a_browser_shows_every_page(site: Path, browser: Any, width: int, scheme: Any) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("request", lambda request: request.url.startswith("http") and wrong.append(request.url))
    # A server shows 404.html, from any folder; so its links are absolute.
    for path in sorted(set(site.rglob("*.html")) - {site / "404.html"}):
        page.goto(path.as_uri())
        assert page.locator("h1").first.is_visible()
        shown = page.evaluate("document.body.dataset.mdColorScheme")
        assert shown == {"light": "default", "dark": "slate"}[scheme]
        wide = page.evaluate("document.documentElement.scrollWidth")
        broken = page.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)")
        assert (wide, broken, wrong) == (width, [], []), path.name
        # A command is seen whole, at any width.
        cut = page.locator(":is(.language-sh, .language-console) code").evaluate_all(
            "all => all.filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)"
        )
        assert cut == [], path.name
    context.close()


def test_search_works_from_the_disk(site: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto((site / "index.html").as_uri())
    search = page.get_by_role("textbox", name="Search").first
    # The index is loaded at the first click.
    search.click()
    page.locator(".md-search-result__meta", has_text="Type to start searching").wait_for()
    search.press_sequentially("promoted")
    page.locator(".md-search-result__link").first.wait_for()
    found = page.locator(".md-search-result__link").evaluate_all("all => all.map(a => a.href)")
    assert any("glossary.html" in link for link in found)
    page.close()
