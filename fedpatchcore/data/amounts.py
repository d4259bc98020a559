"""Numbers of images, and what work on them takes, in words."""

from __future__ import annotations

__all__ = ["count", "duration", "images_told", "seen_told", "size", "work_told"]


def images_told(taught: int, held_out: int = 0, bad: int = 0) -> str:
    """``40 images (36 taught, 4 held out)``; the brackets only where not all of them taught."""
    total = taught + held_out + bad
    parts = [(taught, "taught"), (held_out, "held out"), (bad, "unreadable")]
    told = ", ".join(f"{count:,} {what}" for count, what in parts if count or what == "taught")
    return f"{total:,} image{'' if total == 1 else 's'}" + (f" ({told})" if held_out or bad else "")


def work_told(images: int, seconds: float, features: int, *, passes: int = 1, most: int = 0) -> str:
    """``about 0.12 s an image, 75 images: 9 s; features 1.1 GB``.

    Args:
        images: that are gone through; 0: nobody says how many.
        seconds: an image.
        features: bytes of all features; 0 where that is not known.
        passes: how often each image is run through the network.
        most: bytes that features may take at a time; 0: as many as there are.
    """
    each = f"about {seconds:.2g} s an image"
    if not images:
        return each
    twice = f", gone through {passes} times" if passes > 1 else ""
    told = f"{each}, {count(images)}{twice}: {duration(passes * images * seconds)}"
    if not features:
        return told
    held = f", of which {size(most)} at a time are held" if most and features > most else ""
    return f"{told}; features {size(features)}{held}"


def seen_told(share: float) -> str:
    """What a crop leaves out, told where it leaves something: its share lies between 0 and 1."""
    return f"geometry='crop' shows {share:.0%} of the pictures' area" if 0 < share < 1 else ""


def count(images: int) -> str:
    """``75 images``."""
    return f"{images:,} image{'' if images == 1 else 's'}"


def duration(seconds: float) -> str:
    """``9 s``, ``4 min``, ``2.5 h``."""
    if seconds < 100:
        return f"{max(seconds, 0.1):.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.2g} h"


def size(nbytes: float) -> str:
    """``320 MB``, ``1.1 GB``."""
    return f"{nbytes / 1e9:.2g} GB" if nbytes >= 1e9 else f"{max(nbytes, 1e6) / 1e6:.0f} MB"
