"""How the values of a picture are stored: depth, range, kind, pages."""

from __future__ import annotations

from collections.abc import Iterator

from fedpatchcore.data.check.findings import FAULT, WARNING, Finding, images
from fedpatchcore.data.check.looks import Look, Looked

__all__ = ["depth", "floats", "pages", "shallow", "unranged"]

FULL = 14  # bits from which the high byte holds what there is to see


def shallow(looked: Looked) -> list[Look]:
    """16-bit files whose values fill a few bits: their high byte, which is taken, is empty."""
    return [one for one in _sixteen(looked) if int(one.high).bit_length() < FULL]


def depth(looked: Looked) -> Iterator[Finding]:
    """16-bit files whose values fill 10 or 12 bits, all of them or some."""
    bad, all_ = shallow(looked), _sixteen(looked)
    if not bad:
        return
    most = int(max(one.high for one in bad))
    bits = next(bits for bits in (8, 10, 12, 14) if most.bit_length() <= bits)
    share = 100 * (1 << bits) / 65536
    one = len(bad) == 1
    text = (
        f"{images(len(bad))} of 16 bits hold{'s' * one} values up to {most}: of the contrast "
        f"{share:.2g}% {'is' if one else 'are'} left"
    )
    fix = f"set value-range='{bits}bit'"
    if others := len(all_) - len(bad):
        text += f"; {others} more fill{'s' * (others == 1)} up to 16 bits"
        fix = f"save all in one range, or {fix} if the others do by a few hot pixels alone"
    yield Finding(
        "value-range",
        FAULT if 2 * len(bad) >= len(all_) else WARNING,
        looked.product.name,
        text,
        fix,
        [one.path for one in bad],
    )


def _sixteen(looked: Looked) -> list[Look]:
    """16-bit files read without a stated range; black ones are no sign of one."""
    sixteen = [o for o in looked.all if o.bits == 16 and o.sample == "unsigned" and not o.ranged]
    return [one for one in sixteen if one.high and not one.problem]


def unranged(looked: Looked) -> list[Look]:
    """Floating-point files that cannot be used without a range of values."""
    return [o for o in looked.all if o.sample == "float" and o.problem and not o.ranged]


def floats(looked: Looked) -> Iterator[Finding]:
    """Floating-point files, whose range nobody can know."""
    bad = unranged(looked)
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
