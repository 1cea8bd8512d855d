"""Rooms import only from rooms above them, and nothing grows long; see `docs/architecture.md`."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Rooms from bottom to top: each may import from those before it.
ORDER = (
    "files",
    "interface",
    "configuration",
    "golden.numerics",
    "golden.traces",
    "golden.cycles",
    "golden",
    "algorithm",
    "hw.base",
    "hw.payloads",
    "hw.arrays",
    "hw.softmax",
    "hw.merge",
    "hw.ranking",
    "hw.bus",
    "hw.memory",
    "hw",
    "boards.gateware",
    "driver",
    "model",
    "sim.engines",
    "sim.lockstep",
    "sim.regression",
    "sim.machine",
    "sim.proofs",
    "synth",
    "integration",
    "api",
    "boards",
    "sim.studies",
    "commands",
    "",
)
#: What may not meet, although the order would allow it: each checks the other.
APART = (
    ("golden", "hw"),
    ("algorithm", "hw"),
    ("algorithm", "sim"),
    ("hw", "golden"),
    ("hw", "algorithm"),
    ("driver", "hw"),
    ("driver", "sim"),
    ("model", "hw"),
    ("model", "sim"),
)


def sources() -> Iterator[tuple[str, Path]]:
    """Yield every module of the package, by its dotted name below ``dtqatten``."""
    for folder in sorted(p for p in (ROOT / "dtqatten").iterdir() if p.is_dir()):
        for path in sorted(folder.resolve().rglob("*.py")):
            inside = path.relative_to(folder.resolve()).with_suffix("")
            name = ".".join([folder.name, *inside.parts]).removesuffix(".__init__")
            yield name, path
    for path in sorted((ROOT / "dtqatten").glob("*.py")):
        yield path.stem.replace("__init__", ""), path


MODULES = dict(sources())
#: All that is written by hand in a programming language: rooms are links, each file is here once.
FILES = sorted(
    path
    for top in ROOT.iterdir()
    if top.is_dir() and not top.name.startswith(".") and top.name != "build"
    for path in top.rglob("*")
    if path.suffix in (".py", ".cpp", ".c", ".h", ".js", ".css", ".sh", ".tcl")
    and not any(parent.is_symlink() for parent in path.parents)
)


def room(module: str) -> str:
    """Return a module's room: its package, or that of a package file itself."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return package if package in ORDER else package.rpartition(".")[0]


def imported(path: Path) -> Iterator[str]:
    """Yield the modules of the package that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            if inside == ["dtqatten.__version__"]:
                continue
            names = [n if n.removeprefix("dtqatten.") in MODULES else node.module for n in inside]
        else:
            continue
        for name in names:
            if name == "dtqatten" or name.startswith("dtqatten."):
                yield name.removeprefix("dtqatten").removeprefix(".")


def test_every_module_has_a_room():
    """A new folder takes its place in the order, and in the page."""
    assert {room(module) for module in MODULES} <= set(ORDER)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_import_runs_upward(module):
    """Nor do golden and gateware know each other."""
    mine = room(module)
    for name in imported(MODULES[module]):
        other = room(name)
        assert ORDER.index(other) <= ORDER.index(mine), f"{module} imports {name} from above"
        for one, far in APART:
            inside = mine.split(".")[0] == one and other.split(".")[0] == far
            assert not inside, f"{module} imports {name}: {one} and {far} stay apart"


def test_the_page_has_the_same_rooms_in_the_same_order():
    """`docs/architecture.md` is what a reader sees of ORDER."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = page[page.index("| room |") :].split("\n\n")[0]
    rows = [row.removeprefix("dtqatten/") for row in re.findall(r"^\| `([\w/]+)` \|", table, re.M)]
    assert rows == [name.replace(".", "/") for name in ORDER if name]


def test_no_file_is_long():
    """At most 350 lines, tests too."""
    assert {path.resolve() for path in MODULES.values()} <= set(FILES)
    lengths = {str(p.relative_to(ROOT)): p.read_text("utf-8").count("\n") for p in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > 350} == {}


def test_no_elaborate_is_long():
    """At most 90 lines: what is longer has parts that are components of their own."""
    lengths = {
        f"{module}:{node.lineno}": node.end_lineno - node.lineno + 1
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name == "elaborate"
    }
    assert lengths
    assert {place: lines for place, lines in lengths.items() if lines > 90} == {}
