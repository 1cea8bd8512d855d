"""The demo's report in a browser: drawn, without errors, readable on a phone and in the dark."""

import re
import shutil
from pathlib import Path

import pytest

from dtqatten.api.layers import Cascade
from dtqatten.api.machines import fitted
from dtqatten.api.simulated import device_for
from dtqatten.golden.numerics.order import Order
from dtqatten.golden.traces.recording import example_recording
from dtqatten.interface.units import Unit
from dtqatten.model.clock import clock_of
from dtqatten.sim.machine.sampled import SampledBus
from dtqatten.sim.studies.machine_demo import DemoLayer, cosine, run_demo
from dtqatten.sim.studies.report import COLUMNS, report, rows_of
from dtqatten.sim.studies.stalls import study

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def layers() -> list[DemoLayer]:
    recorded = example_recording()
    system = fitted("tiny", d_head=32, tokens=37, heads=12)
    cascade = Cascade(recorded.q, recorded.k, recorded.v)
    with device_for(system, cascade) as device:
        return run_demo(device, system, cascade, first_layer=3)


@pytest.fixture(scope="module")
def page(layers, tmp_path_factory) -> Path:
    recorded = example_recording()
    system = fitted("tiny", d_head=32, tokens=37, heads=12)
    bits = [int(b) for b in layers[-1].result.precision if b]
    text = report(
        recorded,
        system,
        layers,
        {"clustered order": study(system.core, bits, Order.CLUSTERED)},
        preset="tiny",
        clock=str(clock_of(system.core)),
        rows=rows_of(layers, 1000.0),
        command="dtqatten demo",
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(text)
    return path


def test_layers_keep_what_the_paper_s_shares_say(layers) -> None:
    first, second = layers
    assert (first.number, second.number) == (3, 4)
    assert first.counts == {0: 0, 4: 0, 8: 37}
    assert second.counts == {0: 10, 4: 16, 8: 11}
    assert first.cosine == first.pruned_cosine > 0.999
    assert 0.98 < second.cosine < second.pruned_cosine < 0.999


def test_samples_add_up_to_the_counters(layers) -> None:
    for layer in layers:
        edges, shares = layer.activity
        assert shares.shape == (len(SampledBus.names), len(edges) - 1)
        assert ((shares >= 0) & (shares <= 1)).all()
        spent = dict(zip(SampledBus.names, (shares * (edges[1:] - edges[:-1])).sum(1), strict=True))
        for unit in Unit:
            assert spent[unit] == pytest.approx(layer.cost.busy[unit], rel=0.02)


def test_the_table_has_a_row_a_layer_and_one_of_all(layers) -> None:
    rows = rows_of(layers, 500.0)
    assert [row[0] for row in rows] == ["3", "4", "all"]
    assert all(len(row) == 1 + len(COLUMNS) for row in rows)
    total = sum(layer.cost.cycles for layer in layers)
    assert rows[-1][2] == str(total)
    assert rows[-1][-1] == f"{total / 500:.1f} us"


def test_cosine() -> None:
    recorded = example_recording().q.astype(float)
    assert cosine(recorded, 2 * recorded) == pytest.approx(1)
    assert cosine(recorded, 0 * recorded) == 0


def test_the_page_needs_nothing_else(page) -> None:
    text = page.read_text()
    # Plotly's code names addresses of maps, which it loads for maps only.
    written = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", written)
    for token in ("lighthouse", "[CLS]", "prune", "golden model"):
        assert token in written


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200])
def test_in_a_browser(page, width, scheme) -> None:
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        view = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        wrong: list[str] = []
        view.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else 0)
        view.on("pageerror", lambda error: wrong.append(str(error)))
        view.on("request", lambda r: wrong.append(r.url) if not r.url.startswith("file:") else 0)
        view.goto(page.as_uri())
        view.wait_for_selector("#stalls .heatmaplayer image")
        assert view.locator("#timeline .heatmaplayer image").count() == 2
        assert not wrong
        assert view.evaluate("document.documentElement.scrollWidth") == width
        colour = view.evaluate("getComputedStyle(document.body).color")
        assert colour == {"light": "rgb(29, 33, 38)", "dark": "rgb(230, 232, 234)"}[scheme]
        # Nothing in a table is cut, or narrower than a word; both tables end on the page.
        for table in view.locator("table").all():
            assert table.evaluate("e => e.getBoundingClientRect().right") <= width
            assert (
                table.locator("td").evaluate_all("all => Math.min(...all.map(e => e.clientWidth))")
                > 20
            )
        drawn = view.locator("#timeline .xtick text").first.evaluate("e => e.style.fill")
        assert drawn == colour
        browser.close()
