"""Every training image scored by a bank that does not hold it.

The images are divided into folds, and each fold is scored by a bank of the others. All images
teach the bank that is used afterwards. Images that belong together share a fold: a twin in
the bank would make a score too low. Where groups are few each is a fold: a fifth of ten lots is
two of them, and a bank without two lots is poorer than one without the lot that is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from fedpatchcore.detection.scoring import PatchScores, Scorer
from fedpatchcore.features.maps import FeatureMaps
from fedpatchcore.timing.halting import checkpoint

__all__ = ["FEW", "fold_numbers", "out_of_fold", "scored"]

AT_ONCE = 16  # images scored in one call
FEW = 12  # groups, up to which each is a fold


def fold_numbers(
    keys: Sequence[str], folds: int, *, seed: int, groups: Sequence[Hashable] | None = None
) -> np.ndarray:
    """Divide n images into folds of nearly equal size.

    Args:
        keys: one stable key an image; the division depends on keys, groups and seed, not on the
            order in which they come. Equal keys share a fold.
        folds: how many, of more than `FEW` groups; with no more than these, or with fewer groups
            than folds, each group is a fold.

    Returns:
        int ``[n]``; all 0 if all images are of one group: no image can be left out then.
    """
    groups = list(keys) if groups is None else list(groups)
    joined: dict[Hashable, Hashable] = {}  # equal files are of one group whatever it is called
    members: dict[Hashable, list[int]] = {}
    for at in sorted(range(len(keys)), key=lambda i: (keys[i], str(groups[i]))):
        group = joined.setdefault(keys[at], groups[at])
        members.setdefault(group, []).append(at)
    order = np.random.default_rng(seed).permutation(len(members))
    listed = [list(members.values())[i] for i in order]
    wanted = max(folds, FEW) if len(members) <= FEW else folds
    sizes = np.zeros(max(1, min(wanted, len(members))), dtype=np.int64)
    numbers = np.zeros(len(keys), dtype=np.int64)
    for one in sorted(listed, key=len, reverse=True):  # the largest first, into the emptiest
        fold = int(sizes.argmin())
        numbers[one] = fold
        sizes[fold] += len(one)
    return numbers


def out_of_fold(
    features: FeatureMaps,
    numbers: np.ndarray,
    banks_without: Callable[[np.ndarray, int], Mapping[str, Scorer]],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, PatchScores]:
    """Scores of every image by banks of the other folds.

    Args:
        features: of n images, which change places while this runs and are back where they were
            afterwards: no more than a fold is held twice.
        numbers: fold of each image, int ``[n]``, at least two of them.
        banks_without: makes scorers, by name, from the patches ``[m, D]`` of all images but
            those of a fold, and the fold's number.

    Returns:
        By scorer the scores of all n images; ``nearest`` are rows of the fold's bank.
    """
    rows, starts = features.rows, features.starts
    found: dict[str, PatchScores] = {}
    folds = np.unique(numbers).tolist()
    for done, fold in enumerate(folds):
        others, mine = (np.flatnonzero(numbers != fold), np.flatnonzero(numbers == fold))
        kept = features.some(mine.tolist())
        moved, end = [], 0
        for at in others.tolist():  # gaps close in place
            here = slice(starts[at], starts[at + 1])
            there = slice(end, end + here.stop - here.start)
            rows[there] = rows[here]
            moved.append((here, there))
            end = there.stop
        for name, scorer in banks_without(rows[:end], fold).items():
            if name not in found:
                n = len(features)
                found[name] = PatchScores([None] * n, np.empty(n), [None] * n)
            part, into, at = scored(scorer, kept), found[name], mine.tolist()
            for i, *one in zip(at, part.patches, part.images, part.nearest, strict=True):
                into.patches[i], into.images[i], into.nearest[i] = one
        for here, there in reversed(moved):
            rows[here] = rows[there]
        for at, one in zip(mine.tolist(), kept, strict=True):
            features[at][...] = one
        if progress:
            progress(done + 1, len(folds))
    return found


def scored(scorer: Scorer, features: FeatureMaps) -> PatchScores:
    """Scores of several images, so many at a time that memory does not matter."""
    found = []
    for some in features.runs(AT_ONCE):
        checkpoint()
        found.append(scorer(some))
    return PatchScores.joined(found)
