"""The page in a browser: Debian's chromium and chromium-driver, skipped where there is none."""

import dataclasses
import json
import re
import shutil

import pytest
from PIL import Image

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
        # The reader's, beside some that came with the package.
        others = (("alexnet", (0.2, 0.4, 0.6)), ("efficientnet_b0", (0.2, 0.6, 0.6)))
        shipped = [
            run(model, top1, seed=seed, run_id=f"{model}-{seed}")
            for model, top1 in others
            for seed in range(3)
        ]
        files.write(analysis.analyse(_records(), refused, shipped=shipped), out / "with")
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


def test_what_is_quoted_has_its_source_licence_and_date(folder):
    text = (folder / "with" / "index.html").read_text("utf-8")
    day = re.search(r'<time datetime="(\d{4}-\d\d-\d\d)">', text)[1]
    assert f'<meta name="date" content="{day}">' in text
    title = re.search(r'<meta property="og:title" content="([^"]+)">', text)[1]
    assert title == "44 times less compute for AlexNet&#39;s accuracy, 2012 to 2019"
    for words in ("Cite this", "@article{hernandez2020", "Licence of the data", "30.6"):
        assert words in text
    for address in (
        "https://arxiv.org/abs/2005.04305",
        "https://github.com/openai/ai-and-efficiency",
    ):
        assert f'href="{address}"' in text
    assert 'id="run-shufflenet_v2-0' in text


def test_numbers_in_words():
    assert [page.in_words(n) for n in (7.5e6, 2.66e17, 37_500, 8)] == [
        "7.5 million",
        "266 quadrillion",
        "37,500",
        "8",
    ]


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
    driver.set_script_timeout(120)  # A busy machine takes its time over a page.
    yield driver
    driver.quit()


def _go(browser, url):
    from selenium.webdriver.support.ui import WebDriverWait

    # A change of the fragment alone would not load the page again.
    browser.get("about:blank")
    browser.get(url)
    WebDriverWait(browser, 30).until(
        lambda driver: driver.execute_script("return document.documentElement.dataset.ready")
    )


def _open(browser, path, width=1280, theme="light"):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get_log("browser")
    browser.get_log("performance")
    _go(browser, path.as_uri())


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
@pytest.mark.parametrize(
    ("which", "width", "theme"),
    [
        # Each page at each width, each page in each theme, and each theme at each width.
        ("with", 1280, "light"),
        ("with", 390, "dark"),
        ("without", 1280, "dark"),
        ("without", 390, "light"),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                ("with", 1280, "dark"),
                ("with", 390, "light"),
                ("without", 1280, "light"),
                ("without", 390, "dark"),
            )
        ),
    ],
)
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
    assert [url for url in sent if not url.startswith(("data:", "blob:", "about:"))] == [
        path.as_uri()
    ]
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
    assert _text(browser, "effective-finding").endswith("= 7.5 million times")
    slide = (
        "const slider = document.getElementById('effective-controls').elements[arguments[0]];"
        "slider.value = arguments[1];"
        "slider.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    browser.execute_script(slide, "algorithms", 2)
    assert _text(browser, "effective-finding").endswith("× 100 (algorithms) = 30 million times")
    browser.execute_script(slide, "years", 10)
    assert _text(browser, "effective-finding").startswith("32 (hardware) × 9,380 (spending)")
    browser.find_element("id", "effective-reset").click()
    assert _text(browser, "effective-finding").startswith("8 (hardware) × 37,500 (spending) × 25")


@needs_browser
def test_a_slider_moves_with_the_keyboard(folder, browser):
    from selenium.webdriver.common.keys import Keys

    _open(browser, folder / "without" / "index.html")
    assert _text(browser, "effective-finding").endswith("44 (algorithms) = 13.2 million times")
    browser.find_element("name", "years").send_keys(Keys.ARROW_RIGHT)
    assert "6.5" in browser.find_element("name", "years_text").text


@needs_browser
def test_heads_sort_numbers_as_numbers_with_empty_cells_last(folder, browser):
    _open(browser, folder / "with" / "index.html")
    place = (
        "const table = document.querySelector('[data-name=measured]');"
        "const i = [...table.tHead.rows[0].cells].findIndex("
        "cell => cell.textContent.includes('XLA FLOPs'));"
    )

    def column():
        return browser.execute_script(
            place + "return [...table.tBodies[0].rows].map("
            "row => row.cells[i].dataset.value ?? row.cells[i].textContent)"
        )

    def press():
        browser.execute_script(place + "table.tHead.rows[0].cells[i].firstChild.click()")

    press()
    up = [float(value) for value in column() if value]
    assert up == sorted(up)
    assert len(up) >= 5
    assert up[-1] == float("inf"), "resnet18 did not get there"
    assert column()[-1] == "", "no run of vgg11 is over"
    press()
    down = [float(value) for value in column() if value]
    assert down == up[::-1]
    assert column()[-1] == ""
    head = place + "return table.tHead.rows[0].cells[i].ariaSort"
    assert browser.execute_script(head) == "descending"


def _traces(browser, chart):
    return {
        trace["name"]: trace
        for trace in browser.execute_script(
            "return document.getElementById(arguments[0]).data.map(trace => ({name: trace.name, "
            "x: trace.x, y: trace.y, fill: trace.fill, error: trace.error_y, meta: trace.meta, "
            "dash: trace.line?.dash, symbol: trace.marker?.symbol}))",
            f"{chart}-chart",
        )
        if not trace["fill"]
    }


def _rows(browser, figure):
    return browser.execute_script(
        "return [...document.getElementById(arguments[0]).rows].map(row => "
        "[...row.cells].map(cell => cell.dataset.value ?? ''))",
        f"{figure}-rows",
    )


GROUP = "d at 8 px, 50 % top-1"


@needs_browser
def test_figure_3_switches_convention_level_and_data(folder, browser):
    _open(browser, folder / "with" / "index.html")
    assert "AlexNet to EfficientNet-b0: 44.4 times less" in _text(browser, "frontier-finding")
    assert {"fitted line, 95 % band", "best of their time", "other models"} == set(
        _traces(browser, "frontier")
    )
    _select(browser, "frontier-controls", "convention", "xla")
    assert "35.0 times less" in _text(browser, "frontier-finding")
    _select(browser, "frontier-controls", "level", "ResNet-50")
    assert "ResNet-50 to EfficientNet" in _text(browser, "frontier-finding")
    _select(browser, "frontier-controls", "data", GROUP)
    # The package's AlexNet crosses after 2.5 epochs; the reader's ShuffleNet after 1.17, 1.5 and
    # 1.83, with more than its multiply-accumulates.
    _select(browser, "frontier-controls", "convention", "xla")
    finding = _text(browser, "frontier-finding")
    assert "AlexNet (yours) to ShuffleNet v2 (yours): 1.5 times less (95 %: " in finding
    assert "; 3 runs each)" in finding
    rows = {row[0]: row for row in _rows(browser, "frontier")}
    never = [name for name, row in rows.items() if row[2] == "inf"]
    assert never == ["ResNet-18 (yours)"]
    assert "1 of 1 never got there (seed 0)" in rows[never[0]][9]
    assert "never got there, and so not in the chart: ResNet-18" in _text(browser, "frontier-notes")
    ends = [[float(row[i]) for i in (3, 2, 4)] for row in rows.values() if row[3]]
    assert len(ends) == 4
    assert all(low < value < high for low, value, high in ends)
    traces = _traces(browser, "frontier")
    assert traces["yours"]["symbol"] == "star"
    assert len(traces["yours"]["x"]) == 2
    assert traces["yours"]["error"]["visible"]
    assert min(traces["yours"]["error"]["array"] + traces["yours"]["error"]["arrayminus"]) > 0
    ticks = browser.execute_script(
        "return document.getElementById('frontier-chart').layout.yaxis.ticktext"
    )
    assert all(re.fullmatch(r"[125]0?0? KFLOP", tick) for tick in ticks), ticks


@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_every_model_is_named_and_no_name_lies_on_another(folder, browser, width):
    _open(browser, folder / "without" / "index.html", width)
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('#frontier-chart .annotation-text')].map(text => {"
        "const box = text.getBoundingClientRect();"
        "return [text.textContent, box.left, box.right, box.top, box.bottom]})"
    )
    names = {box[0] for box in boxes}
    assert len(names) == 16
    assert {"AlexNet", "ShuffleNet v2 1.5x", "Wide ResNet-50"} <= names
    for i, (one, left, right, top, bottom) in enumerate(boxes):
        assert left >= 0, one
        assert right <= width, one
        for other, left2, right2, top2, bottom2 in boxes[:i]:
            # Letters have some room above and below within their box.
            across = min(right, right2) - max(left, left2)
            up = min(bottom, bottom2) - max(top, top2)
            assert across <= 0 or up <= 3, (one, other)


@needs_browser
def test_what_is_shown_has_a_link_and_an_embed_that_show_it_again(folder, browser):
    path = folder / "with" / "index.html"
    _open(browser, path)
    _select(browser, "frontier-controls", "data", GROUP)
    _select(browser, "frontier-controls", "convention", "paper")
    browser.find_element("css selector", "[data-figure=frontier] [data-view=table]").click()
    shown = _rows(browser, "frontier"), _text(browser, "frontier-finding")
    link, embed = (
        browser.find_element("id", f"frontier-{kind}").get_attribute("value")
        for kind in ("link", "embed")
    )
    address = re.search(r'<iframe src="([^"]+)"', embed)[1]
    for url, embedded in ((link, False), (address, True)):
        _go(browser, url)
        assert (_rows(browser, "frontier"), _text(browser, "frontier-finding")) == shown
        seen = "return [...document.querySelectorAll(arguments[0])].some(e => e.offsetHeight > 0)"
        assert browser.execute_script(seen, "#frontier-rows")
        assert not browser.execute_script(seen, "#frontier-chart")
        assert browser.execute_script(seen, "header, #audit, h1") != embedded
    # A fragment of strangers sets nothing that is not there.
    hostile = "#frontier?data=<img src=x>&level=nan&view=x&models=<b>&embed=0"
    _go(browser, path.as_uri() + hostile)
    assert "44.4 times less" in _text(browser, "frontier-finding")
    assert browser.get_log("browser") == []


@needs_browser
def test_curves_are_medians_with_bands_and_every_run_on_demand(folder, browser):
    _open(browser, folder / "with" / "index.html")
    _select(browser, "curves-controls", "group", GROUP)
    bands = browser.execute_script(
        "return document.getElementById('curves-chart').data.filter(t => t.fill).map(t => t.name)"
    )
    assert {"AlexNet", "AlexNet (yours)", "ShuffleNet v2 (yours)"} <= set(bands)
    line = _traces(browser, "curves")["ShuffleNet v2 (yours)"]
    # 1.5 epochs of 60,000 FLOPs to 50 %.
    assert line["x"][line["y"].index(50)] == 90_000
    assert line["x"] == sorted(line["x"])
    _select(browser, "curves-controls", "show", "runs")
    runs = browser.execute_script(
        "return document.getElementById('curves-chart').data.map(trace => trace.meta)"
    )
    assert "ShuffleNet v2, small, seed 1 (yours)" in runs
    # Choosing fewer draws fewer, and stays when the theme changes.
    box = "#curves-controls .choice[value='ShuffleNet v2 (yours)']"
    browser.execute_script("document.querySelector('#curves-controls .picker').open = true")
    browser.find_element("css selector", box).click()
    browser.find_element("id", "theme").click()
    left = browser.execute_script(
        "return document.getElementById('curves-chart').data.map(trace => trace.meta)"
    )
    assert left == [name for name in runs if not name.startswith("ShuffleNet v2,")]
    _select(browser, "curves-controls", "group", "d at 8 px, 60 % top-1 (average)")
    dashes = browser.execute_script(
        "return document.getElementById('curves-chart').data.map(trace => "
        "[trace.meta, trace.line.dash, trace.y])"
    )
    name = "AlexNet, small, seed 0"
    expected = [[name, "solid", [10, 30]], [f"{name}, average", "dash", [10, 70]]]
    assert [[*row[:2], pytest.approx(row[2])] for row in dashes] == expected
    assert "measured otherwise: average (dash)" in _text(browser, "curves-finding")


@needs_browser
def test_the_factor_by_level_has_a_band(folder, browser):
    _open(browser, folder / "with" / "index.html")
    # At 50 % by XLA's count: 2.25 epochs beside 1.5 at the same cost.
    row = next(
        row
        for row in _rows(browser, "factor")
        if row[2] == "ShuffleNet v2 (yours)" and row[0] == "0.5"
    )
    assert row[1] == "AlexNet (yours)"
    assert float(row[3]) == pytest.approx(1.5)
    assert float(row[4]) < 1.5 < float(row[5])
    traces = browser.execute_script(
        "return document.getElementById('factor-chart').data.map(trace => "
        "({name: trace.name, x: trace.x, y: trace.y, fill: trace.fill}))"
    )
    band, line = (trace for trace in traces if trace["name"] == "ShuffleNet v2 (yours)")
    assert (band["fill"], line.get("fill")) == ("toself", None)
    count = len(line["x"])
    top, bottom = band["y"][:count], band["y"][count:][::-1]
    assert band["x"] == [*line["x"], *line["x"][::-1]]
    assert all(a < b < c for a, b, c in zip(bottom, line["y"], top, strict=True))
    assert [trace["fill"] for trace in traces if trace["name"] == "ResNet-18 (yours)"] == [None]


@needs_browser
def test_a_network_of_ones_own_is_dated_and_linked_or_listed_as_undated(folder, browser):
    _open(browser, folder / "own" / "index.html")
    _select(browser, "frontier-controls", "data", GROUP)
    rows = [(row[0], row[1], row[-1]) for row in _rows(browser, "frontier")]
    assert sorted(rows) == [
        ("MyNet", "2026-05-01", "https://example.org/mynet"),
        ("Other", "undated", ""),
    ]
    notes = _text(browser, "frontier-notes")
    assert notes.startswith("Undated, and so not in the chart: Other, 90 KFLOP")
    # One point is no chart of milliseconds.
    chart = _text(browser, "frontier-chart")
    assert chart == "MyNet, published 2026-05-01: 90 KFLOP. One dated model makes no chart by date."
    links = "return [...document.querySelectorAll('[data-name=measured] a')].map(a => a.href)"
    assert browser.execute_script(links) == ["https://example.org/mynet"]
    assert "AlexNet, with which it would be compared, was not measured" in browser.page_source
    _open(browser, folder / "undated" / "index.html")
    _select(browser, "frontier-controls", "data", GROUP)
    assert _text(browser, "frontier-chart") == "No dated model reached this level."


@needs_browser
def test_hovering_tells_what_a_point_is(folder, browser):
    _open(browser, folder / "with" / "index.html")
    texts = browser.execute_script(
        "return document.getElementById('frontier-chart').data"
        ".flatMap(trace => trace.hovertext || [])"
    )
    (alexnet,) = [text for text in texts if "AlexNet" in text]
    for words in (
        "published 2012",
        "90 epochs",
        "3.08 teraflop/s-days",
        "papers.nips.cc",
        "multiply-acc",
    ):
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
    buttons = [*(f"{chart}-csv" for chart in charts), "frontier-png", "curves-svg"]
    for button in buttons:
        browser.execute_script("document.getElementById(arguments[0]).click()", button)
    browser.execute_script("document.querySelector('.download[data-table=table3]').click()")
    names = {"figure2.csv", "figure3.csv", "figure4.csv", "figure5.csv", "table3.csv"}
    names |= {"factor_by_level.csv", "figure3.png", "figure4.svg"}
    for _ in range(200):
        if {path.name for path in tmp_path.iterdir()} == names:
            break
        browser.execute_async_script("setTimeout(arguments[0], 100)")
    assert {path.name for path in tmp_path.iterdir()} == names
    lines = (tmp_path / "figure3.csv").read_text().splitlines()
    assert any(line.startswith("# Licence: ") for line in lines)
    assert any("44.4 times less" in line for line in lines if line.startswith("# Shown: "))
    assert len([line for line in lines if not line.startswith("#")]) == 17
    own = folder / "with" / "tables" / "table3.csv"
    assert (tmp_path / "table3.csv").read_text() == own.read_text()
    image = Image.open(tmp_path / "figure3.png")
    assert image.width >= 1500
    text = (tmp_path / "figure4.svg").read_text()
    assert "compute to every accuracy" in text
    assert "made by jaxeff" in text
