"""`index.html`: the whole report in one file that opens from disk without a network."""

import base64
import hashlib
import json
import math
import pathlib

import jinja2
import markupsafe
import plotly.offline

import jaxeff
from jaxeff.compute import TERAFLOP_S_DAY
from jaxeff.report import audit, tables, trends
from jaxeff.report.analysis import Analysis, page_data
from jaxeff.report.published import PAPER, REPOSITORY

# The CSV file alone has the rows beyond these.
MOST_ROWS = 200

_SUFFIXES = ((1e15, "quadrillion"), (1e12, "trillion"), (1e9, "billion"), (1e6, "million"))


def render(analysis: Analysis) -> str:
    """The page as text.

    Names and other text of records are escaped, and data go in as JSON. The page's own policy lets
    only its two scripts run, and opens no connection.
    """
    folder = pathlib.Path(__file__).parent
    data = page_data(analysis)
    charting, script = plotly.offline.get_plotlyjs(), (folder / "page.js").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(folder),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": cell, "raw_value": raw_value, "words": in_words}
    environment.tests["link"] = _is_link
    conventions = analysis.conventions
    printed = conventions["printed"]
    best = trends.frontier(printed)
    return environment.get_template("page.html").render(
        analysis=analysis,
        tables={table.name: table for table in analysis.tables},
        most_rows=MOST_ROWS,
        first=best[0],
        last=best[-1],
        factors={key: _factor(points) for key, points in conventions.items()},
        fit=trends.doublings(printed)[0],
        moore=trends.moore_factor(best[0].published, best[-1].published),
        years=trends.months_between(best[0].published, best[-1].published) / 12,
        effective=analysis.effective,
        has_curves=bool(data["groups"]),
        has_factors=any(group["factors"] for group in data["groups"]),
        audit_summary=audit.summary(analysis.audit),
        labels=tables.CONVENTIONS,
        version=jaxeff.__version__,
        paper=PAPER,
        repository=REPOSITORY,
        operations_a_day=TERAFLOP_S_DAY,
        hashes=[_hash(text) for text in (charting, script)],
        style=markupsafe.Markup((folder / "page.css").read_text("utf-8")),
        charting=markupsafe.Markup(charting),
        script=markupsafe.Markup(script),
        data=markupsafe.Markup(_inert(json.dumps(data, allow_nan=False))),
    )


def cell(value: tables.Cell) -> str:
    """A cell as readers see it: four digits, a true minus sign, and empty for None."""
    if value is None:
        return ""
    if isinstance(value, float) and math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if isinstance(value, float):
        text = f"{value:.4g}" if value else "0"
        return text.replace("-", "−") if "e" not in text else text
    return f"{value:,}" if isinstance(value, int) else str(value)


def raw_value(value: tables.Cell) -> str:
    """A cell as the CSV file has it."""
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)


def _is_link(value):
    return isinstance(value, str) and value.startswith(("https://", "http://"))


def in_words(number: float) -> str:
    """A number as `7.5 million`; below a million, its digits."""
    for size, name in _SUFFIXES:
        if number >= size:
            return f"{number / size:.3g} {name}"
    return f"{number:,.3g}" if number < 1000 else f"{number:,.0f}"


def _factor(points):
    best = trends.frontier(points)
    return best[0].compute / best[-1].compute


def _inert(text):
    """JSON that cannot end the element it stands in."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(script):
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
