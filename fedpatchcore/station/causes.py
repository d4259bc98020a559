"""Why an image was not judged, or images wait, in the language of the page.

What is kept and what programs are told is the library's own sentence, in English. A page shows it
in its language where the sentence is one of `CAUSES`; a detail in it, and any other, as it is.
"""

from __future__ import annotations

import re
from functools import cache

from fedpatchcore.station.speech import translated

__all__ = ["CAUSES", "cause"]

CAUSES = (  # {…}: a detail, a size, a name
    "cannot be decoded ({why}); restore or remove it",
    "cannot be decoded as DICOM ({why}); restore or remove it",
    "cannot be read ({why}); restore or remove it",
    "file is empty (0 bytes); restore or remove it",
    "has no pixels ({size}); remove it",
    "not a regular file; give an image file",
    "no such file; check the path",
    "not an 8- or 16-bit PNG, JPEG, BMP, TIFF, WebP or DICOM image; convert or remove it",
    "more than {most} pixels; scale it down",
    "{size} is more than {most} pixels; scale it down or remove it",
    "{size} pixels are more than megapixels = {most}; scale it down",
    "too large for this machine's memory",
    "its content is gone from the station's folder",
    "holds {frames} frames; export it with one frame a file",
    "says that text is burnt into the picture; export it without annotations",
    "holds NaN or infinite values; save it without",
    "16-bit colour in separate planes is not supported; save it interleaved",
    "floating-point samples have no fixed range; state it as value-range, or save as 16-bit",
    "32-bit samples have no fixed range; state it as value-range, or save as 8- or 16-bit",
    "signed samples have no fixed range; state it as value-range, or save them unsigned",
    "{share} of the values lie outside value-range='{range}': they go from {low} to {high}; "
    "state the range of the camera",
    "the bank has no section for product '{product}' (it has {sections})",
    "there is no bank to judge by",
    "cannot delete files from the watched folder: {why}",
)


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Each cause as an expression; those with fewer details first."""
    fields = re.compile(r"\\\{(\w+)\\\}")
    found = [(one, fields.sub(r"(?P<\1>.+)", re.escape(one))) for one in CAUSES]
    return [(one, re.compile(text)) for one, text in sorted(found, key=lambda f: f[1].count("(?P"))]


def cause(language: str, told: str) -> str:
    """A sentence of the library in a language, the file's name before it as it is.

    >>> cause("de", "a.png: file is empty (0 bytes); restore or remove it")
    'a.png: Die Datei ist leer (0 Bytes); neu ablegen oder entfernen'
    """
    starts = [0, *(at.end() for at in re.finditer(": ", told))]  # names may hold some themselves
    for known, pattern in _patterns():
        for start in starts:
            if found := pattern.fullmatch(told, start):
                return told[:start] + translated(language, known).format(**found.groupdict())
    return told
