"""`index.html`: the whole report in one file that opens from disk without a network."""

import base64
import hashlib
import importlib.metadata
import pathlib

import jinja2
import markupsafe
import plotly.offline

import jaxeff
from jaxeff.compute import TERAFLOP_S_DAY
from jaxeff.report import audit, charts, published, quotation, tables, trends
from jaxeff.report.analysis import Analysis
from jaxeff.report.csv_file import csv_text
from jaxeff.report.names import readable
from jaxeff.report.page import shown

# The CSV file alone has the rows beyond these.
MOST_ROWS = 120

_SUFFIXES = ((1e15, "quadrillion"), (1e12, "trillion"), (1e9, "billion"), (1e6, "million"))
# What marks an entry of the audit.
_MARKS = {audit.DISAGREES: "≠", audit.OPEN: "?", audit.AGREES: "="}


def render(analysis: Analysis) -> str:
    """The page as text.

    Names and other text of records are escaped, and data go in as JSON. The page's own policy lets
    only its two scripts run, and opens no connection.
    """
    folder = pathlib.Path(__file__).parent
    data = charts.page_data(analysis)
    audited = _audit_table(analysis)
    data["csv"] = {
        table.name: csv_text(table, analysis.day, MOST_ROWS) for table in analysis.tables
    } | {"audit": csv_text(audited, analysis.day)}
    charting, script = plotly.offline.get_plotlyjs(), (folder / "page.js").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(folder),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"words": in_words, "readable": readable}
    conventions = analysis.conventions
    printed = conventions["printed"]
    best = trends.frontier(printed)
    earlier = {table.name: table for table in analysis.tables}["confounder"].rows[0][2]
    at_alexnet = [point for metric, point in analysis.imported if metric == "AlexNet"]
    return environment.get_template("page.html").render(
        analysis=analysis,
        tables={
            table.name: shown.shown(table, MOST_ROWS, _source_address())
            for table in analysis.tables
        },
        audit_sections=_audit_sections(analysis.audit),
        marks=_MARKS,
        most_rows=MOST_ROWS,
        first=best[0],
        last=best[-1],
        factors={key: _factor(points) for key, points in conventions.items()},
        from_epoch_62=earlier,
        with_imported=charts.with_imported(printed, at_alexnet),
        fit=trends.doublings(printed)[0],
        moore=trends.moore_factor(best[0].published, best[-1].published),
        years=trends.months_between(best[0].published, best[-1].published) / 12,
        effective=analysis.effective,
        has_curves=bool(data["groups"]),
        has_factors=any(group["factors"] for group in data["groups"]),
        schedules=bool(data["schedules"]),
        audit_summary=audit.summary(analysis.audit),
        labels=tables.CONVENTIONS,
        version=jaxeff.__version__,
        paper=published.PAPER,
        paper_url=quotation.PAPER_URL,
        repository=published.REPOSITORY,
        repository_url=quotation.REPOSITORY_URL,
        licence=quotation.LICENCE,
        citation=quotation.citation(analysis.day),
        bibtex=quotation.BIBTEX,
        operations_a_day=TERAFLOP_S_DAY,
        hashes=[_hash(text) for text in (charting, script)],
        style=markupsafe.Markup((folder / "page.css").read_text("utf-8")),
        charting=markupsafe.Markup(charting),
        script=markupsafe.Markup(script),
        data=markupsafe.Markup(_inert(charts.as_json(data))),
    )


def in_words(number: float) -> str:
    """A number as `7.5 million`; below a million, its digits."""
    for size, name in _SUFFIXES:
        if number >= size:
            return f"{number / size:.3g} {name}"
    return f"{number:,.3g}" if number < 1000 else f"{number:,.0f}"


def _source_address():
    """Where the package says its source is published, without a slash at its end; or None."""
    try:
        addresses = importlib.metadata.metadata("jaxeff").get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for text in addresses:
        label, _, address = text.partition(",")
        if label.strip().lower() in ("source", "source code", "repository"):
            return address.strip().rstrip("/")
    return None


def _audit_sections(entries):
    """The entries by where they are printed, in the order of the paper."""
    sections = {}
    for entry in entries:
        sections.setdefault(entry.where, []).append(entry)
    return sections


def _audit_table(analysis):
    columns = ("where", "what", "printed", "recomputed", "how", "verdict", "why")
    rows = tuple(
        (e.where, e.quantity, e.printed, e.recomputed, e.how, e.verdict, e.reason)
        for e in analysis.audit
    )
    how = "An entry agrees where the printed digits are possible within the rounding of its inputs."
    return tables.Table("audit", "Every printed number, recomputed", columns, rows, how)


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
