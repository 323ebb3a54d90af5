"""The report as a PDF, laid out by WeasyPrint if that is installed."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from configs.errors import InputError
from features.storage.lake import Lake
from serving.report_page.page_environment import STYLES

MISSING = (
    "a PDF needs WeasyPrint, which is not installed; make pdf installs it (or: uv pip install --python "
    ".venv/bin/python 'weasyprint>=68'), and the report as HTML needs nothing"
)
NO_PANGO = (
    "WeasyPrint is installed but finds no Pango, which writes its letters ({error}); install it, on Debian with "
    "apt-get install libpangoft2-1.0-0"
)
PAPER = """
@page { size: A4; margin: 15mm 14mm 17mm;
  @bottom-right { content: counter(page) " / " counter(pages); font: 9px sans-serif; color: #52606d; } }
html { font-size: 11px; } h1 { font-size: 20px; } section { margin: 0 0 1rem; } .chart { max-width: 26rem; }
"""
CHART = '<svg class="chart"'


def write_report_pdf(lake: Lake, as_of: date) -> Path:
    """Write ``reports/<as_of>.pdf`` of the report that lies beside it.

    Raises
    ------
    InputError
        WeasyPrint or what it needs is not installed.
    """
    html = lake.files.read(f"reports/{as_of}.html").decode()
    lake.files.publish_file(f"reports/{as_of}.pdf", pdf_of(html))
    return lake.path("reports", f"{as_of}.pdf")


def pdf_of(html: str) -> bytes:
    """Lay a page of ours out on A4; nothing is fetched for it.

    Raises
    ------
    InputError
        WeasyPrint or what it needs is not installed.
    """
    weasyprint = printer()
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols=["data"], fail_on_errors=True)
    own = weasyprint.CSS(string=PAPER)
    page = weasyprint.HTML(string=with_drawn_styles(html), url_fetcher=fetcher)
    found: bytes = page.write_pdf(stylesheets=[own])
    return found


def printer() -> Any:  # noqa: ANN401 - a module
    """Import WeasyPrint.

    Raises
    ------
    InputError
        It, or the library that it draws letters with, is not installed.
    """
    try:
        import weasyprint
    except ImportError as error:
        raise InputError(MISSING) from error
    except OSError as error:
        raise InputError(NO_PANGO.format(error=str(error).splitlines()[0])) from error
    return weasyprint


def with_drawn_styles(html: str) -> str:
    """Give every drawing its style: on paper a drawing does not see that of the page, nor names of colours.

    Examples
    --------
    >>> "fill: #0b7285" in with_drawn_styles('<svg class="chart"></svg>')
    True
    """
    styles = Environment(loader=FileSystemLoader([STYLES]), autoescape=True)
    page, drawn = (styles.get_template(name).render() for name in ("page.css", "charts.css"))
    colours = dict(re.findall(r"--([\w-]+):\s*([^;}]+)", page.partition("}")[0]))  # those of light
    style = re.sub(r"var\(--([\w-]+)\)", lambda found: colours[found[1]], drawn)
    return re.sub(f"({CHART}[^>]*>)", lambda found: f"{found[1]}<style>{style}</style>", html)
