"""What a reply may hold at most, and why: every bound of what arrives stands here.

They refuse what no site needs, before a machine is filled, and lie far beyond an honest site of
1,000 products or 10⁶ rows. What a run may widen is a setting (`max-products`, `coreset-size`).
"""

from __future__ import annotations

import math

__all__ = [
    "BESIDE",
    "BESIDE_NAME",
    "CANDIDATES",
    "FINGERPRINT",
    "HEADS",
    "IMAGES",
    "KINDS",
    "LARGEST",
    "LONGEST",
    "MESSAGE",
    "MOST",
    "NOTES",
    "PARTS",
    "PLANTED",
    "SECONDS",
    "SECTIONS",
    "SMALLEST",
    "TEXTS",
    "is_count",
    "is_figure",
    "is_share",
]

MOST = 2**50  # of anything that is counted: sums of many stay exact in a float
IMAGES = 10**8  # of a section, as a coreset's file may claim
SECTIONS = 10_000  # sections, products or notes of one message, whatever max-products says
NOTES = SECTIONS  # a site has at most one note a product
KINDS = 200  # of defects, a product
CANDIDATES = 200  # settings that one message asks to be tried
PLANTED = 20_000  # planted defects, a product: as many as a run may ask for
LONGEST = 100  # characters of the name of a kind of defect
TEXTS = 1 << 24  # characters of all texts of a message: 10,000 sections need a quarter of it
BESIDE = 64 * SECTIONS  # arrays beside rows or a bank: a network of a section has a dozen
BESIDE_NAME = 200  # characters of the name of one, which may hold a product's
FINGERPRINT = 20_000  # characters; a fingerprint has about 500
SECONDS = 1e9  # thirty years
MESSAGE = 8 * 10**9  # bytes of a reply: 10⁶ rows of 1,536 float32 are 6 GB
PARTS = 4 * SECTIONS  # that a reply travels in: an array a section, each of a head and its chunks
HEADS = 1 << 25  # bytes of all parts but the rows: texts, figures, names, lists of parts
# Squares of more than 1e15 a value leave float32 (`bank.contribution.LARGEST`), so no distance is
# above 1e20; and the ratio of any two figures is a number that can be drawn.
LARGEST, SMALLEST = 1e20, 1e-30


def is_count(value: object, most: int = MOST) -> bool:
    """A whole number from 0 to ``most``."""
    return type(value) is int and 0 <= value <= most


def is_figure(value: object, most: float = LARGEST) -> bool:
    """A number from 0 to ``most``: finite, and none so small that dividing by it overflows."""
    if type(value) not in (int, float) or not math.isfinite(value):
        return False
    return value == 0 or SMALLEST <= value <= most


def is_share(value: object) -> bool:
    """A number in [0, 1]."""
    return is_figure(value, 1.0)
