"""The page in a browser: Debian's chromium and chromium-driver, skipped where there is none."""

import dataclasses
import json
import math
import re
import shutil

import pytest

from jaxeff.report import analysis, files, page
from jaxeff.report.effective_compute import EffectiveCompute
from tests.records.example import averaged, run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="no Chromium here (Debian: apt-get install chromium chromium-driver)",
)


def _records():
    hostile = run(HOSTILE, (0.3, 0.5), seed=3)
    recipe = {"name": "</script><script>document.title='owned'</script>"}
    hostile = dataclasses.replace(
        hostile,
        run_id=HOSTILE,
        command=HOSTILE,
        recipe={**hostile.recipe, **recipe},
        dataset=dataclasses.replace(hostile.dataset, name="{{ 7 * 7 }}"),
        environment=dataclasses.replace(hostile.environment, kernels=HOSTILE, cpu_model=HOSTILE),
    )
    return [
        run("alexnet", (0.2, 0.4, 0.6), macs=700),
        run("alexnet", (0.2, 0.6, 0.6), macs=700, seed=1),
        run("alexnet", (0.2, 0.4, 0.6), macs=700, seed=2),
        *(run("shufflenet_v2", (0.3, 0.7), macs=140, seed=seed) for seed in range(3)),
        run("resnet18", (0.3, 0.4), macs=1800, scale=3),
        run("vgg11", (0.3, 0.4), status="running"),
        averaged((0.1, 0.3), (0.1, 0.7), 0.6),
        hostile,
    ]


def _own(name, **facts):
    """A run of a network of the reader's own."""
    record = run(name, (0.3, 0.7), seed=5)
    model = dataclasses.replace(record.model, source="0" * 64, **facts)
    return dataclasses.replace(record, model=model)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    refused = [f"{HOSTILE}: not a valid record"]
    # The page draws its own charts: the figures for print are left out.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.figures, "draw", lambda analysis: {})
        files.write(analysis.analyse(_records(), refused), out / "with")
        effective = EffectiveCompute(algorithms=44)
        files.write(analysis.analyse([], effective=effective), out / "without")
        dated = _own("MyNet", published="2026-05-01", url="https://example.org/mynet")
        files.write(analysis.analyse([dated, _own("Other")]), out / "own")
        files.write(analysis.analyse([_own("Other")]), out / "undated")
    return out


def test_no_address_is_fetched_and_no_text_becomes_markup(folder):
    text = (folder / "with" / "index.html").read_text("utf-8")
    assert not re.search(r"<(?:script|img|iframe|link)[^>]+(?:src|href)=\"?https?:", text)
    assert "<img src=x" not in text
    assert "</script><script>document.title" not in text
    assert "{{ 7 * 7 }}" in text
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)[1]
    shown = [each for group in json.loads(data)["groups"] for each in group["configurations"]]
    assert HOSTILE in {configuration["model"] for configuration in shown}


def test_numbers_in_words_and_cells():
    assert [page.in_words(n) for n in (7.5e6, 2.66e17, 37_500, 8)] == [
        "7.5 million",
        "266 quadrillion",
        "37,500",
        "8",
    ]
    cells = [page.cell(value) for value in (None, -0.0182, 1.23456e13, 0.0, 12345, "x", math.inf)]
    assert cells == ["", "−0.0182", "1.235e+13", "0", "12,345", "x", "∞"]


@pytest.fixture(scope="module")
def browser():
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def _open(browser, path, width=1280, theme="light"):
    from selenium.webdriver.support.ui import WebDriverWait

    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(path.as_uri())
    WebDriverWait(browser, 30).until(
        lambda driver: driver.execute_script("return document.documentElement.dataset.ready")
    )


def _text(browser, identifier):
    return browser.execute_script(
        "return document.getElementById(arguments[0]).textContent", identifier
    )


def _select(browser, form, name, value):
    browser.execute_script(
        "const field = document.getElementById(arguments[0]).elements[arguments[1]];"
        "field.value = arguments[2];"
        "field.dispatchEvent(new Event('change', {bubbles: true}))",
        form,
        name,
        value,
    )


@needs_browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("which", ["with", "without"])
def test_loads_from_disk_quietly_fits_and_is_accessible(folder, browser, which, width, theme):
    from axe_selenium_python import Axe

    path = folder / which / "index.html"
    _open(browser, path, width, theme)
    assert browser.title != "owned"
    assert browser.get_log("browser") == []
    sent = [
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]
    assert [url for url in sent if not url.startswith(("data:", "blob:"))] == [path.as_uri()]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    # Closed parts are checked too.
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    axe = Axe(browser)
    axe.inject()
    serious = [
        (found["id"], [node["html"][:200] for node in found["nodes"]][:3])
        for found in axe.run()["violations"]
        if found["impact"] in ("serious", "critical")
    ]
    assert serious == []


@needs_browser
def test_sliders_change_the_number_and_reset_brings_it_back(folder, browser):
    _open(browser, folder / "with" / "index.html")
    assert _text(browser, "effective-result").endswith("= 7.5 million times")
    slide = (
        "const slider = document.getElementById('effective-controls').elements[arguments[0]];"
        "slider.value = arguments[1];"
        "slider.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    browser.execute_script(slide, "algorithms", 2)
    assert _text(browser, "effective-result").endswith("× 100 (algorithms) = 30 million times")
    browser.execute_script(slide, "years", 10)
    assert _text(browser, "effective-result").startswith("32 (hardware) × 9,380 (spending)")
    browser.find_element("id", "effective-reset").click()
    assert _text(browser, "effective-result").startswith("8 (hardware) × 37,500 (spending) × 25")


@needs_browser
def test_a_slider_moves_with_the_keyboard(folder, browser):
    from selenium.webdriver.common.keys import Keys

    _open(browser, folder / "without" / "index.html")
    assert _text(browser, "effective-result").endswith("44 (algorithms) = 13.2 million times")
    browser.find_element("name", "years").send_keys(Keys.ARROW_RIGHT)
    assert "6.5" in browser.find_element("name", "years_text").text


@needs_browser
def test_heads_sort_numbers_as_numbers_with_empty_cells_last(folder, browser):
    _open(browser, folder / "with" / "index.html")

    def column():
        return browser.execute_script(
            "return [...document.querySelectorAll('[data-name=measured] tbody tr')]"
            ".map(row => row.cells[9].dataset.value)"
        )

    def press():
        browser.execute_script(
            "document.querySelectorAll('[data-name=measured] thead button')[9].click()"
        )

    press()
    up = [float(value) for value in column() if value]
    assert up == sorted(up)
    assert len(up) >= 3
    assert up[-1] == float("inf"), "resnet18 did not get there"
    assert column()[-1] == "", "no run of vgg11 is over"
    press()
    down = [float(value) for value in column() if value]
    assert down == up[::-1]
    assert column()[-1] == ""
    head = "return document.querySelectorAll('[data-name=measured] thead th')[9].ariaSort"
    assert browser.execute_script(head) == "descending"


@needs_browser
def test_figure_3_switches_convention_level_and_data(folder, browser):
    _open(browser, folder / "with" / "index.html")
    assert "AlexNet to EfficientNet-b0: 44.4 times less" in _text(browser, "frontier-finding")
    _select(browser, "frontier-controls", "convention", "xla")
    assert "35.0 times less" in _text(browser, "frontier-finding")
    _select(browser, "frontier-controls", "level", "ResNet-50")
    assert "ResNet-50 to EfficientNet" in _text(browser, "frontier-finding")
    _select(browser, "frontier-controls", "data", "0")
    # AlexNet crosses after 1.5, 2.25 and 2.75 epochs, the other after 1.17, 1.5 and 1.83, with a
    # fifth of the multiply-accumulates.
    _select(browser, "frontier-controls", "convention", "paper")
    assert "alexnet to shufflenet_v2: 7.5 times less (95 %: " in _text(browser, "frontier-finding")
    assert "; 3 runs each)" in _text(browser, "frontier-finding")
    rows = browser.execute_script(
        "return [...document.getElementById('frontier-rows').rows].map(row => "
        "[...row.cells].map(cell => cell.textContent))"
    )
    never = {row[0]: row[-1] for row in rows if row[2] == "never"}
    assert list(never) == ["resnet18"]
    assert "1 of 1 never got there (seed 0)" in never["resnet18"]
    ends = [[float(text) for text in row[2:5]] for row in rows if row[2] != "never"]
    assert len(ends) == 2
    assert all(low < value < high for value, low, high in ends)
    bars = browser.execute_script(
        "return document.getElementById('frontier-chart').data.map(trace => trace.error_y)"
    )
    assert bars[1]["visible"]
    assert min(bars[1]["array"] + bars[1]["arrayminus"]) > 0


@needs_browser
def test_the_factor_by_level_has_a_band_and_averages_are_dashed(folder, browser):
    _open(browser, folder / "with" / "index.html")
    # At 50 % by XLA's count: 2.25 epochs beside 1.5 at the same cost.
    finding = _text(browser, "factor-finding")
    assert "shufflenet_v2 at 50 %: 1.5 times less than alexnet (95 %: " in finding
    traces = browser.execute_script(
        "return document.getElementById('factor-chart').data.map(trace => "
        "({name: trace.name, x: trace.x, y: trace.y, fill: trace.fill}))"
    )
    single, band, line = traces
    assert single["name"] == "resnet18 (3 runs and one run)"
    assert [trace.get("fill") for trace in traces] == [None, "toself", None]
    count = len(line["x"])
    top, bottom = band["y"][:count], band["y"][count:][::-1]
    assert band["x"] == [*line["x"], *line["x"][::-1]]
    assert all(a < b < c for a, b, c in zip(bottom, line["y"], top, strict=True))
    _select(browser, "curves-controls", "group", "1")
    dashes = browser.execute_script(
        "return document.getElementById('curves-chart').data.map(trace => "
        "[trace.name, trace.line.dash, trace.y])"
    )
    name = "alexnet, small, seed 0"
    expected = [[name, "solid", [10, 30]], [f"{name}, average", "dash", [10, 70]]]
    assert [[*row[:2], pytest.approx(row[2])] for row in dashes] == expected
    assert "measured otherwise: average (dash)" in _text(browser, "curves-finding")


@needs_browser
def test_a_network_of_ones_own_is_dated_and_linked_or_listed_as_undated(folder, browser):
    _open(browser, folder / "own" / "index.html")
    _select(browser, "frontier-controls", "data", "0")
    rows = browser.execute_script(
        "return [...document.getElementById('frontier-rows').rows].map(row => "
        "[row.cells[0].textContent, row.cells[1].textContent, row.querySelector('a')?.href])"
    )
    assert sorted(rows) == [
        ["MyNet", "2026-05-01", "https://example.org/mynet"],
        ["Other", "undated", None],
    ]
    assert "Undated, and so in the table alone: Other" in _text(browser, "frontier-finding")
    (x,) = browser.execute_script(
        "return document.getElementById('frontier-chart').data.flatMap(trace => trace.x)"
    )
    assert x == "2026-05-01"
    links = "return [...document.querySelectorAll('[data-name=measured] a')].map(a => a.href)"
    assert browser.execute_script(links) == ["https://example.org/mynet"]
    assert "alexnet, with which it would be compared, was not measured" in browser.page_source
    shown = "return document.getElementById('frontier-chart').offsetHeight"
    assert browser.execute_script(shown) > 0
    _open(browser, folder / "undated" / "index.html")
    _select(browser, "frontier-controls", "data", "0")
    assert browser.execute_script(shown) == 0, "no empty chart of the year 2000"
    assert "No dated model reached this level" in _text(browser, "frontier-finding")


@needs_browser
def test_hovering_tells_what_a_point_is(folder, browser):
    _open(browser, folder / "with" / "index.html")
    texts = browser.execute_script(
        "return document.getElementById('frontier-chart').data.flatMap(trace => trace.hovertext)"
    )
    (alexnet,) = [text for text in texts if "AlexNet" in text]
    for words in ("published 2012", "90 epochs", "3.08 teraflop/s-days", "multiply-acc"):
        assert words in alexnet


@needs_browser
def test_the_theme_button_and_the_audit_boxes_work(folder, browser):
    _open(browser, folder / "with" / "index.html")
    background = "return getComputedStyle(document.body).backgroundColor"
    before = browser.execute_script(background)
    browser.find_element("id", "theme").click()
    assert browser.execute_script(background) != before
    shown = "return document.querySelectorAll('[data-verdict=agrees]:not([hidden])').length"
    assert browser.execute_script(shown) == 0
    browser.execute_script("document.querySelector('.verdict[value=agrees]').click()")
    assert browser.execute_script(shown) > 50


@needs_browser
def test_downloads_hold_what_is_shown(folder, browser, tmp_path):
    _open(browser, folder / "with" / "index.html")
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    charts = ("frontier", "curves", "factor", "schedule", "effective")
    buttons = [f"{chart}-download" for chart in charts]
    for button in buttons:
        browser.execute_script("document.getElementById(arguments[0]).click()", button)
    browser.execute_script("document.querySelector('.download[data-table=table3]').click()")
    names = {"figure2.csv", "figure3.csv", "figure4.csv", "figure5.csv", "table3.csv"}
    names.add("factor_by_level.csv")
    for _ in range(100):
        if {path.name for path in tmp_path.iterdir()} == names:
            break
        browser.execute_async_script("setTimeout(arguments[0], 100)")
    assert {path.name for path in tmp_path.iterdir()} == names
    assert len((tmp_path / "figure3.csv").read_text().splitlines()) == 17
    own = (folder / "with" / "tables" / "table3.csv").read_text().splitlines()
    assert (tmp_path / "table3.csv").read_text().splitlines()[0] == own[0]
