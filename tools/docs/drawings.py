"""Draw the diagrams of the docs: ``python tools/docs/drawings.py`` writes docs/images/*.svg.

They are narrow, so that they can be read on a phone, and have colours of their own for light and
for dark screens. Sizes and fields are those of the package.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from dtqatten import PRESETS
from dtqatten.golden.numerics.order import boundaries
from dtqatten.interface.descriptor import FIELDS, SIZE

__all__ = ["DRAWINGS", "Drawing", "machine", "memory", "passes"]

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WIDTH = 500

STYLE = """
  svg { --paper: #ffffff; --ink: #1f2430; --line: #5b6474; --plain: #eef0f4; --arrays: #d7e5ff;
        --ranking: #ffe3c4; --bus: #d9efdc; --absent: #ffffff }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #1e2129; --ink: #eceef4; --line: #a3abba; --plain: #343a46; --arrays: #2f4a80;
          --ranking: #7a4a14; --bus: #28573a; --absent: #1e2129 }
  }
  .paper { fill: var(--paper) }
  .plain { fill: var(--plain) } .arrays { fill: var(--arrays) } .ranking { fill: var(--ranking) }
  .bus { fill: var(--bus) } .absent { fill: var(--absent); stroke-dasharray: 3 3 }
  rect.box { stroke: var(--line) }
  .frame { fill: none; stroke: var(--line); stroke-dasharray: 5 4 }
  .wire { fill: none; stroke: var(--line); stroke-width: 1.5 }
  .wire[marker-end] { stroke-linejoin: round }
  marker path { fill: var(--line) }
  text { font: 14px system-ui, "DejaVu Sans", sans-serif; fill: var(--ink) }
  text.small { font-size: 12px }
  text.code { font: 12px ui-monospace, "DejaVu Sans Mono", monospace }
  text.bold { font-weight: 600 }
"""


class Drawing:
    """Shapes on paper of ``height`` by 500; ``title`` is what a screen reader says."""

    def __init__(self, title: str, height: int) -> None:
        self.title, self.height = title, height
        self.parts: list[str] = []

    def box(
        self, x: float, y: float, w: float, h: float, kind: str = "plain", lines: Sequence[str] = ()
    ) -> None:
        """Draw a box with lines of text in its middle.

        Parameters
        ----------
        x, y, w, h : float
            Left, top, width, height.
        kind : str
            Its colour: a class of the style.
        lines : sequence of str
            The first one normal, the others small.
        """
        self.parts.append(
            f'<rect class="box {kind}" x="{x}" y="{y}" width="{w}" height="{h}" rx="3"/>'
        )
        top = y + h / 2 - 8 * (len(lines) - 1) + 5
        for number, line in enumerate(lines):
            self.text(
                x + w / 2, top + 16 * number, line, "small" if number else "", anchor="middle"
            )

    def frame(self, x: float, y: float, w: float, h: float) -> None:
        """Draw a dashed frame."""
        self.parts.append(f'<rect class="frame" x="{x}" y="{y}" width="{w}" height="{h}" rx="6"/>')

    def text(
        self, x: float, y: float, text: str, kind: str = "small", *, anchor: str = "start"
    ) -> None:
        """Write a line of text; ``y`` is its base line."""
        self.parts.append(
            f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def wire(self, *points: tuple[float, float], arrow: bool = True) -> None:
        """Draw a line through points, with an arrow at its end."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        end = ' marker-end="url(#arrow)"' if arrow else ""
        self.parts.append(f'<polyline class="wire" points="{path}"{end}/>')

    def svg(self) -> str:
        """Return the file's text."""
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}"'
                f' width="{WIDTH}" height="{self.height}" role="img">',
                f"<title>{escape(self.title)}</title>",
                f"<style>{STYLE}</style>",
                '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7"'
                ' markerHeight="7" orient="auto-start-reverse"><path d="M0,0 L10,5 L0,10 z"/>'
                "</marker></defs>",
                f'<rect class="paper" width="{WIDTH}" height="{self.height}"/>',
                *self.parts,
                "</svg>",
                "",
            ]
        )


def machine() -> Drawing:
    """Draw the blocks of the machine."""
    d = Drawing("Block diagram: host and memory, bus masters, fetcher, writer, attention core", 660)
    d.box(10, 10, 140, 44, lines=("host", "driver"))
    d.box(170, 10, 320, 44, lines=("memory", "descriptors, Q, K, V; results"))
    d.frame(5, 92, 490, 560)
    d.text(90, 109, "machine", "small bold")
    d.box(20, 118, 125, 48, "bus", ("registers", "AXI4-Lite, irq"))
    d.box(165, 118, 150, 48, "bus", ("read master", "AXI4, window"))
    d.box(335, 118, 150, 48, "bus", ("write master", "AXI4, window"))
    d.box(20, 204, 125, 48, "bus", ("controller", "checks descriptors"))
    d.box(165, 204, 150, 48, "bus", ("fetcher", "token table"))
    d.box(335, 204, 150, 48, "bus", ("writer", "by token"))
    d.wire((80, 54), (80, 118))
    d.wire((240, 54), (240, 118))
    d.wire((410, 118), (410, 54))
    d.wire((80, 166), (80, 204))
    d.wire((240, 166), (240, 204))
    d.wire((410, 204), (410, 166))
    d.text(246, 189, "10 streams")
    d.wire((165, 154), (155, 154), (155, 218), (145, 218))
    d.wire((145, 238), (165, 238))

    d.frame(12, 300, 476, 340)
    d.text(310, 320, "attention core", "small bold")
    blocks = (("score array", "Q x K^T"), ("softmax", "three passes"), ("value array", "P x V"))
    for number, lines in enumerate((*blocks, ("normalizer", "one division a row"))):
        d.box(62, 330 + 78 * number, 160, 48, "arrays", lines)
    for number, label in enumerate(("scores", "weights", "sums")):
        d.wire((142, 378 + 78 * number), (142, 408 + 78 * number))
        d.text(148, 397 + 78 * number, label)
    d.text(62, 634, "module A", "small bold")
    d.box(310, 408, 135, 48, "ranking", ("accumulator", "importance"))
    d.box(310, 486, 135, 48, "ranking", ("top-k", "two thresholds"))
    d.text(310, 555, "module B", "small bold")
    d.wire((222, 432), (310, 432))
    d.text(226, 424, "probabilities")
    d.wire((378, 456), (378, 486))
    # From the fetcher, down along the left; to it and to the writer, up along the right.
    d.wire((200, 252), (200, 330))
    d.text(206, 292, "Q, K")
    d.wire((180, 252), (180, 276), (34, 276), (34, 510), (62, 510))
    d.wire((34, 432), (62, 432))
    d.text(40, 292, "V; gains, ids")
    d.wire((445, 510), (460, 510), (460, 252))
    d.wire((460, 276), (290, 276), (290, 252))
    d.text(400, 292, "kept ids")
    d.wire((24, 252), (24, 300))
    d.text(30, 269, "layers")
    d.wire((222, 588), (476, 588), (476, 252))
    d.text(300, 582, "outputs")
    return d


#: Address fields of the descriptor, and how the tensors there are laid out.
REGIONS = {
    "q": "Q: heads, planes, tokens, d/2 bytes",
    "k": "K: heads, planes, places, d/2 bytes",
    "v": "V: likewise",
    "head_table": "head table: 8 bytes a head",
    "q_gains": "gains of Q: a byte a token",
    "k_gains": "gains of K",
    "v_gains": "gains of V",
    "query_list": "positions of queries: 16 bits each",
    "key_list": "places of keys: 16 bits each",
    "output": "outputs: heads, tokens, channels",
    "ids": "kept ids: 4-bit class first",
    "importance": "importance: 32 bits a token",
}


def memory() -> Drawing:
    """Draw a descriptor, what it points to, and the planes of a tensor."""
    d = Drawing("Memory layout: descriptor, tensors in planes, order of tokens", 1095)
    d.text(10, 20, f"Descriptor, {SIZE} bytes", "bold")
    written = {"output", "ids", "importance"}
    y = 30
    for field in FIELDS:
        name = field.name
        colour = "ranking" if name in written else "arrays" if name in REGIONS else "plain"
        d.box(10, y, 165, 17, colour)
        d.text(16, y + 13, f"{field.offset:#04x}", "code")
        d.text(58, y + 13, name, "code")
        if name in REGIONS:
            d.wire((175, y + 8.5), (212, y + 8.5))
            d.box(214, y, 276, 17, colour)
            d.text(220, y + 13, REGIONS[name])
        y += 17
    d.text(214, 44, "read by the machine: blue")
    d.text(214, 62, "written by it: orange")

    y += 40
    core = PRESETS["tiny"]
    tokens, narrow = 12, 6
    first = boundaries(narrow, tokens, core.rows, core.cols, core.group).q
    d.text(10, y, "Q of a head: two planes, tokens in the order stored", "bold")
    left, cell = 90, 33
    for plane, (name, read) in enumerate((("high plane", 0), ("low plane", first))):
        top = y + 14 + 50 * plane
        d.text(10, top + 22, name)
        for token in range(tokens):
            kind = "absent" if token < read else "arrays" if token < narrow else "ranking"
            kind = "bus" if plane and read <= token < narrow else kind
            d.box(left + cell * token, top, cell, 34, kind, (f"{token}",))
    y += 116
    d.wire((left, y + 8), (left, y), (left + cell * narrow - 2, y), arrow=False)
    d.wire((left + cell * narrow - 2, y), (left + cell * narrow - 2, y + 8), arrow=False)
    d.wire((left + cell * narrow + 2, y + 8), (left + cell * narrow + 2, y), arrow=False)
    d.wire((left + cell * narrow + 2, y), (490, y), (490, y + 8), arrow=False)
    d.text(left, y + 20, f"4-bit class: four_bit = {narrow}")
    d.text(left + cell * narrow + 4, y + 20, "8-bit class")
    notes = (
        "Dashed: in memory, but never read.",
        f"Green: promoted. A tile of {core.rows} queries that has an 8-bit token is computed",
        "in 8 bits, so the low planes of all its tokens are read.",
        "A chained layer reads the rows that the previous layer kept,",
        "4-bit class first; the tensor has all rows of that layer.",
    )
    for number, line in enumerate(notes):
        d.text(10, y + 46 + 17 * number, line)

    y += 152
    d.text(10, y, "A vector: a token's channels in one plane, d/2 bytes", "bold")
    for byte in range(4):
        x = 10 + 120 * byte
        for half, channel in enumerate((2 * byte + 1, 2 * byte)):
            d.box(x + 57 * half, y + 12, 57, 30, "plain", (f"ch {channel}",))
        d.text(x, y + 58, f"byte {byte}")
    d.text(10, y + 80, "The low nibble of a byte is the lower channel.")
    return d


def passes() -> Drawing:
    """Draw the passes of a tile at its three speeds."""
    core = PRESETS["base"]
    d = Drawing("Passes of a tile in plane-major order: one, two or four", 500)
    steps = core.d_head // core.depth
    d.text(10, 20, "A tile takes one, two or four passes", "bold")
    d.text(10, 40, f"A pass is d_head/depth steps of a cycle each: {steps} in preset base.")
    cases: Iterable[tuple[str, tuple[str, ...], str]] = (
        ("4-bit queries, 4-bit keys", ("hh",), "score = 256 acc"),
        ("4-bit queries, 8-bit keys", ("hh", "hl"), "score = 16 acc"),
        ("8-bit queries, 8-bit keys", ("hh", "hl", "lh", "ll"), "score = acc"),
    )
    for number, (title, order, score) in enumerate(cases):
        y = 76 + 112 * number
        d.text(10, y, f"{title}: {score}")
        _tile(d, 24, y + 18, queries=number == 2, keys=number > 0)
        for at, planes in enumerate(order):
            x = 105 + 82 * at
            d.box(x, y + 16, 76, 48, "arrays", (planes, f"{steps} steps"))
            lower = at and planes.count("l") > order[at - 1].count("l")
            d.text(x, y + 80, "16 acc + dot" if lower else "acc + dot" if at else "dot")
    for number, line in enumerate(
        (
            "hl: high plane of the query, low plane of the key.",
            "A pass of lower weight first multiplies each sum by 16.",
            "In a mixed tile, tokens without a low plane feed zeros: their PEs wait.",
            "Orange edges: 8-bit tokens.",
        )
    ):
        d.text(10, 420 + 19 * number, line)
    return d


def _tile(d: Drawing, x: int, y: int, *, queries: bool, keys: bool) -> None:
    """Draw a tile of 3 by 3 PEs and the edges that its operands enter by."""
    for row in range(3):
        d.box(x - 14, y + 15 * row, 10, 13, "ranking" if queries else "arrays")
        d.box(x + 16 * row, y - 14, 14, 10, "ranking" if keys else "arrays")
        for column in range(3):
            d.box(x + 16 * column, y + 15 * row, 14, 13)


#: By the name of the file.
DRAWINGS = {"machine": machine, "memory": memory, "passes": passes}

if __name__ == "__main__":
    for name, draw in DRAWINGS.items():
        (IMAGES / f"{name}.svg").write_text(draw().svg(), "utf-8")
