"""Pictures unlike the others of their folder: blank, blurred, tiny, odd in size or light."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from fedpatchcore.data.check.findings import FAULT, WARNING, Finding, images
from fedpatchcore.data.check.looks import Look, Looked
from fedpatchcore.data.check.samples import shallow, unranged
from fedpatchcore.deviation import robust_sigma

__all__ = ["blank", "blurred", "odd_light", "odd_size", "tiny", "unreadable"]

TINY = 64  # pixels
PLAIN = 1.0  # grey levels of spread
ENOUGH = 8  # images that make a rule from which one can differ
ODD = 6.0  # modified z-score


def unreadable(looked: Looked) -> Iterator[Finding]:
    """Files that are no usable image, but for those whose range of values is told."""
    told = {one.path for one in unranged(looked)}
    bad = [one for one in looked.all if one.problem and one.path not in told]
    if bad:
        cause, _, helps = bad[0].problem.partition("; ")
        yield _of(
            "unreadable",
            FAULT,
            looked,
            bad,
            f"cannot be used, the first: {cause}",
            helps or "save them again as 8- or 16-bit PNG, or remove them",
        )


def blank(looked: Looked) -> Iterator[Finding]:
    """Pictures of one grey, which teach nothing, unless their range of values makes them so."""
    told = {one.path for one in shallow(looked) if one.high > one.low}
    bad = [o for o in _fine(looked.all) if o.spread < PLAIN and o.path not in told]
    if bad:
        yield _of(
            "blank", FAULT, looked, bad, "of one grey and nothing else", "remove or retake them"
        )


def tiny(looked: Looked) -> Iterator[Finding]:
    """Pictures that would only be blown up."""
    bad = [one for one in _fine(looked.all) if min(one.size) < TINY]
    if bad:
        width, height = bad[0].size
        yield _of(
            "tiny",
            WARNING,
            looked,
            bad,
            f"smaller than {TINY} pixels, the first {width}×{height}",
            "export the full pictures, not thumbnails",
        )


def odd_size(looked: Looked) -> Iterator[Finding]:
    """Pictures of another shape than most: squeezed or cropped, a part looks different."""
    fine = _fine(looked.all)
    shapes = Counter(round(np.log(w / h), 2) for w, h in (one.size for one in fine))
    if len(fine) < ENOUGH or len(shapes) < 2:
        return
    usual, count = shapes.most_common(1)[0]
    bad = [o for o in fine if abs(np.log(o.size[0] / o.size[1]) - usual) > 0.05]
    if bad and count >= 0.8 * len(fine):
        width, height = bad[0].size
        yield _of(
            "odd-size",
            WARNING,
            looked,
            bad,
            f"of another shape than the others, the first {width}×{height}",
            "cut them like the others, or give them a product of their own",
        )


def odd_light(looked: Looked) -> Iterator[Finding]:
    """Good pictures much darker, brighter or flatter than the others of their folder."""
    train = [one for one in _fine(looked.train) if one.spread >= PLAIN]
    scores = np.maximum(
        np.abs(_z([o.mean for o in train], least=4.0)),
        np.abs(_z([np.log(o.spread) for o in train], least=0.1)),
    )
    bad = [train[at] for at in np.argsort(-scores) if scores[at] > ODD]
    if bad:
        yield _of(
            "odd-light",
            WARNING,
            looked,
            bad,
            "of good parts lit unlike the others",
            "keep them if production looks so at times, remove them if not",
        )


def blurred(looked: Looked) -> Iterator[Finding]:
    """Good pictures much less sharp than the others of their folder."""
    train = [one for one in _fine(looked.train) if one.spread >= PLAIN]
    scores = _z([o.sharpness for o in train], least=0.15)
    bad = [train[at] for at in np.argsort(scores) if scores[at] < -ODD]
    if bad:
        yield _of(
            "blurred",
            WARNING,
            looked,
            bad,
            "of good parts far less sharp than the others",
            "retake or remove them",
        )


def _fine(looks: Sequence[Look]) -> list[Look]:
    return [one for one in looks if not one.problem]


def _of(check, kind, looked: Looked, bad: Sequence[Look], text: str, fix: str) -> Finding:
    paths = [one.path for one in bad]
    return Finding(check, kind, looked.product.name, f"{images(len(bad))} {text}", fix, paths)


def _z(values: Sequence[float], *, least: float) -> np.ndarray:
    """Modified z-scores (Iglewicz, Hoaglin, 1993); ``least``: of the deviation. 0 of a few."""
    given = np.asarray(values, dtype=np.float64)
    if len(given) < ENOUGH:
        return np.zeros(len(given))
    away = given - np.median(given)
    return away / max(robust_sigma(given), least)
