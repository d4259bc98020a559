"""How the values of a picture are stored: depth, range, kind, pages."""

from __future__ import annotations

from collections.abc import Iterator

from fedpatchcore.data.check.findings import FAULT, WARNING, Finding, images
from fedpatchcore.data.check.looks import Looked

__all__ = ["depth", "floats", "pages"]

FULL = 14  # bits from which the high byte holds what there is to see


def depth(looked: Looked) -> Iterator[Finding]:
    """16-bit files whose values fill 10 or 12 bits: their high byte, which is taken, is empty."""
    sixteen = [o for o in looked.all if o.bits == 16 and o.sample == "unsigned" and not o.ranged]
    deep = [one for one in sixteen if one.high and not one.problem]
    if not deep:
        return
    most = int(max(one.high for one in deep))
    used = most.bit_length()
    if used >= FULL:
        return
    bits = next(bits for bits in (8, 10, 12, 14) if used <= bits)
    share = 100 * (1 << bits) / 65536
    yield Finding(
        "value-range",
        FAULT,
        looked.product.name,
        f"{images(len(deep))} of 16 bits hold values up to {most}: of the contrast "
        f"{share:.2g}% are left",
        f"set value-range='{bits}bit'",
        [one.path for one in deep],
    )


def floats(looked: Looked) -> Iterator[Finding]:
    """Floating-point files, whose range nobody can know."""
    bad = [one for one in looked.all if one.sample == "float" and one.problem]
    if bad:
        low, high = min(one.low for one in bad), max(one.high for one in bad)
        yield Finding(
            "float",
            FAULT,
            looked.product.name,
            f"{images(len(bad))} of floating-point samples, from {low:g} to {high:g}, have no "
            "fixed range",
            "name it, for example value-range='0.0..1.0', or save them as 16-bit",
            [one.path for one in bad],
        )


def pages(looked: Looked) -> Iterator[Finding]:
    """Files of several pages, of which the first alone is used."""
    bad = [one for one in looked.all if one.pages > 1]
    if bad:
        yield Finding(
            "pages",
            WARNING,
            looked.product.name,
            f"{images(len(bad))} of several pages: the first alone is used",
            "save each page as a file of its own",
            [one.path for one in bad],
        )
