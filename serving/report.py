"""The risk report: one self-contained page that a marketer understands without help."""

from datetime import date
from pathlib import Path

from configs.settings import Settings
from features.lake import Lake, write_text


def write_report(settings: Settings, lake: Lake, as_of: date) -> Path:
    """Write."""
    p = lake.path("reports", f"{as_of}.html")
    write_text(p, "x")
    return p
