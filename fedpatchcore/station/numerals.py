"""Numbers on pages, in the language of the page: 1,234.5% in English is 1.234,5 % in German.

Pages only: files, JSON, CSV and metrics are for programs, and have points in every language.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fedpatchcore.metrics.rates import percent
from fedpatchcore.station.causes import cause
from fedpatchcore.station.charts import rate_chart, sum_chart
from fedpatchcore.station.colours import legend
from fedpatchcore.web.render import figure

__all__ = ["in_language", "numerals_of"]

MARKS = {  # of programs: the point, what groups thousands, what stands before a per cent sign
    "en": str.maketrans({}),
    "de": str.maketrans({".": ",", ",": ".", "%": "\N{NO-BREAK SPACE}%"}),
}


def in_language(language: str, told: str) -> str:
    """A number as `format` writes it, as people of a language read it.

    Raises:
        KeyError: nobody said how numbers are written in this language.
    """
    return told.translate(MARKS[language])


def numerals_of(language: str) -> dict[str, object]:
    """What templates write numbers by, in a language: filters, and charts that hold some."""
    here = partial(in_language, language)

    def spoken(write: Callable[..., str]) -> Callable[..., str]:
        return lambda *told: here(write(*told))

    return {
        "figure": spoken(figure),
        "short": spoken(short),
        "share": spoken(percent),
        "whole": spoken(whole),
        "tiny": spoken(tiny),
        "rate_chart": partial(rate_chart, number=here),
        "sum_chart": partial(sum_chart, number=here),
        "cause": partial(cause, language),
        "legend": lambda threshold: legend(threshold, here),
    }


def short(value: float, digits: int = 3) -> str:
    """So many digits that count: ``0.0123``, ``12.3``."""
    return f"{value:.{digits}g}"


def whole(value: float) -> str:
    """Without a fraction, in thousands: ``107,123``."""
    return f"{value:,.0f}"


def tiny(value: float) -> str:
    """In powers of ten: ``8.9e-07``."""
    return f"{value:.1e}"
