"""Images that are there twice: within the training images, and on both sides of the test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fedpatchcore.data.check.findings import FAULT, NOTE, WARNING, Finding, images
from fedpatchcore.data.check.looks import Look, Looked
from fedpatchcore.data.likeness import common, details, joined, limit_of, near_pairs
from fedpatchcore.texts import counted

__all__ = ["copies", "leaks", "twins"]

TOO_GOOD = "remove them from one side, or the test promises too much"
DEFECT_LEARNT = "a defect is learnt as good: remove them from train/good"


def copies(looked: Looked) -> Iterator[Finding]:
    """One training file twice."""
    first: dict[str, Look] = {}
    paths = []
    for one in looked.train:
        if one.digest and (known := first.setdefault(one.digest, one)) is not one:
            paths += [known.path, one.path]
    if paths:
        yield Finding(
            "copies",
            WARNING,
            looked.product.name,
            f"{images(len(paths) // 2)} of good parts in the folder for a second time",
            "remove the copies: they count double",
            paths,
            pairs=True,
        )


def twins(looked: Looked) -> Iterator[Finding]:
    """Training images that are shots of one thing, and no copies of one file."""
    seen: dict[str, Look] = {}
    for one in looked.train:
        if not one.problem:
            seen.setdefault(one.digest, one)
    looks = list(seen.values())
    if len(looks) < 2:
        return
    sets = joined(details(_small(looks)))
    paths = [looks[at].path for one in sets for other in one[1:] for at in (one[0], other)]
    if paths:
        yield Finding(
            "twins",
            NOTE,
            looked.product.name,
            f"{counted(len(sets), 'group')} of near-identical training images "
            f"({sum(map(len, sets))} of {len(looked.train)}); each is set aside as a whole",
            "if they are shots of one part, name groups with group-by",
            paths,
            pairs=True,
        )


def leaks(looked: Looked) -> Iterator[Finding]:
    """Test images that are training images too: figures of the test are then too good, or wrong."""
    train = [one for one in looked.train if not one.problem]
    test = [(item, one) for item, one in looked.test if not one.problem]
    if not train or not test:
        return
    known = {one.digest: one for one in reversed(train)}
    same = [(item, one, known[one.digest]) for item, one in test if one.digest in known]
    exact = {one.path for _, one, _ in same}
    others = [(item, one) for item, one in test if one.path not in exact]
    near = [(*others[at], train[to]) for at, to in _near(train, [one for _, one in others])]
    for anomalous in (False, True):
        for kind, told, found in (
            (FAULT, "also", same),
            (WARNING, "with near-identical ones", near),
        ):
            hits = [(one, other) for item, one, other in found if item.anomalous == anomalous]
            if hits:
                side = "defective" if anomalous else "good"
                yield Finding(
                    "leak",
                    kind,
                    looked.product.name,
                    f"{images(len(hits))} of the {side} test {told} among the training images",
                    DEFECT_LEARNT if anomalous else TOO_GOOD,
                    [path for one, other in hits for path in (one.path, other.path)],
                    pairs=True,
                )


def _near(train: Sequence[Look], test: Sequence[Look]) -> list[tuple[int, int]]:
    """Test image and the training image near-identical to it, as positions."""
    if not test:
        return []
    detail = details(_small([*train, *test]))
    pairs = list(near_pairs(detail))
    blank = ~detail.reshape(len(detail), -1).any(axis=1)
    limit, count = limit_of(pairs, len(detail)), len(train)
    best: dict[int, tuple[float, int]] = {}
    for at, other, far in pairs:
        a, b = sorted((at, other))
        if a < count <= b and far <= limit and not blank[a]:
            best[b] = min(best.get(b, (1.0, a)), (far, a))
    if len(best) > common(len(detail)):
        return []  # all look alike: nothing tells one from another
    return [(b - count, a) for b, (_, a) in sorted(best.items(), key=lambda kv: kv[1])]


def _small(looks: Sequence[Look]) -> np.ndarray:
    return np.stack([one.small for one in looks]).astype(np.float32)
