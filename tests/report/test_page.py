"""The page in a browser: Debian's chromium and chromium-driver, skipped where there is none."""

import dataclasses
import json
import re
import shutil

import pytest

from jaxeff.report import analysis, files, page
from jaxeff.report.effective_compute import EffectiveCompute
from tests.records.example import run

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
        run("shufflenet_v2", (0.3, 0.7), macs=140),
        run("resnet18", (0.3, 0.4), macs=1800, scale=3),
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
    runs = [run for group in json.loads(data)["groups"] for run in group["runs"]]
    assert HOSTILE in {run["model"] for run in runs}


def test_numbers_in_words_and_cells():
    assert [page.in_words(n) for n in (7.5e6, 2.66e17, 37_500, 8)] == [
        "7.5 million",
        "266 quadrillion",
        "37,500",
        "8",
    ]
    cells = [page.cell(value) for value in (None, -0.0182, 1.23456e13, 0.0, 12345, "x")]
    assert cells == ["", "−0.0182", "1.235e+13", "0", "12,345", "x"]


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
            ".map(row => row.cells[8].dataset.value)"
        )

    def press():
        browser.execute_script(
            "document.querySelectorAll('[data-name=measured] thead button')[8].click()"
        )

    press()
    up = [float(value) for value in column() if value]
    assert up == sorted(up)
    assert len(up) >= 3
    assert column()[-1] == ""
    press()
    down = [float(value) for value in column() if value]
    assert down == up[::-1]
    assert column()[-1] == ""
    head = "return document.querySelectorAll('[data-name=measured] thead th')[8].ariaSort"
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
    # Each arrives after 20 steps; by multiply-accumulates, 700 and 140, they differ by five.
    _select(browser, "frontier-controls", "convention", "paper")
    assert "alexnet to shufflenet_v2: 5.0 times less" in _text(browser, "frontier-finding")
    rows = browser.execute_script("return document.getElementById('frontier-rows').rows.length")
    assert rows == 3


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
    buttons = ("frontier-download", "curves-download", "schedule-download", "effective-download")
    for button in buttons:
        browser.execute_script("document.getElementById(arguments[0]).click()", button)
    browser.execute_script("document.querySelector('.download[data-table=table3]').click()")
    names = {"figure2.csv", "figure3.csv", "figure4.csv", "figure5.csv", "table3.csv"}
    for _ in range(100):
        if {path.name for path in tmp_path.iterdir()} == names:
            break
        browser.execute_async_script("setTimeout(arguments[0], 100)")
    assert {path.name for path in tmp_path.iterdir()} == names
    assert len((tmp_path / "figure3.csv").read_text().splitlines()) == 17
    own = (folder / "with" / "tables" / "table3.csv").read_text().splitlines()
    assert (tmp_path / "table3.csv").read_text().splitlines()[0] == own[0]
