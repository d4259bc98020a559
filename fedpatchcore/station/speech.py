"""The languages of the pages: one catalogue a language, by gettext; the templates speak English.

Which one a browser gets: the one it chose on the page, else the first it asks for that there is.
"""

from __future__ import annotations

import gettext
from collections.abc import Callable
from functools import cache
from pathlib import Path

from starlette.requests import Request

__all__ = ["COOKIE", "LANGUAGES", "speech_of", "translated"]

LANGUAGES = {"en": "English", "de": "Deutsch"}
COOKIE = "language"
CATALOGUES = Path(__file__).with_name("locale")


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    if language == "en":
        return gettext.NullTranslations()
    return gettext.translation("station", CATALOGUES, [language])


def translated(language: str, text: str) -> str:
    """A text of the templates in a language; itself where the catalogue lacks it."""
    return _catalogue(language).gettext(text) if text else ""


def speech_of(request: Request) -> tuple[str, Callable[[str], str]]:
    """The language of a request, and what turns texts into it."""
    language = request.cookies.get(COOKIE, "")
    if language not in LANGUAGES:
        asked = request.headers.get("accept-language", "")[:200].lower().split(",")
        known = [one.split(";")[0].strip()[:2] for one in asked]
        language = next((one for one in known if one in LANGUAGES), "en")
    return language, lambda text: translated(language, text)
