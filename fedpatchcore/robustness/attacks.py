"""What a faulty or hostile site might send, for experiments; nothing here runs by default.

Every attack turns an honest `Contribution` into the one that is sent instead. All take the
same arguments and ignore those that they have no use for::

    attack(contribution, *, strength, seed, peers=(), defects=None) -> Contribution

``strength`` 1 is the customary size, 0 (almost) harmless; each attack says what it scales.
``peers`` are the honest contributions of other sites and ``defects`` rows of defects by
section, both as an attacker with full knowledge would have them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.errors import ConfigError

if TYPE_CHECKING:  # it takes torch to import
    from fedpatchcore.bank.contribution import Contribution, Part

__all__ = ["ATTACKS", "malicious_sites"]

SCALE = 10.0
FLOOD = 10.0  # rows after flooding, as a multiple of the honest ones
FLOOD_ROWS = 8  # different rows that a flood consists of
ABSURD = 9.0  # powers of ten added to honest counts

Peers = Sequence["Contribution"]
Defects = Mapping[str, np.ndarray]


def scaling(contribution: Contribution, *, strength: float, seed: int, **_: object) -> Contribution:
    """Rows times 10 · strength.

    The boosted update of model replacement (Bagdasaryan et al., AISTATS 2020), or a site
    that forgot to normalise.
    """
    with np.errstate(over="ignore"):
        return _changed(contribution, lambda part, _: part.features * (SCALE * strength), seed)


def noise(contribution: Contribution, *, strength: float, seed: int, **_: object) -> Contribution:
    """Rows plus Gaussian noise of ``strength`` times their own deviation per coordinate.

    A broken sensor or driver, or the Gaussian attacker (Blanchard et al., NeurIPS 2017).
    """

    def noisy(part: Part, rng: np.random.Generator) -> np.ndarray:
        spread = part.features.std(0) * strength
        return part.features + rng.standard_normal(part.features.shape, np.float32) * spread

    return _changed(contribution, noisy, seed)


def sign_flip(
    contribution: Contribution, *, strength: float, seed: int, **_: object
) -> Contribution:
    """Rows times -strength.

    The sign-flipping attack on gradients (Li et al., AAAI 2019). Features behind a ReLU
    cannot be negative, so screening stops it there.
    """
    return _changed(contribution, lambda part, _: part.features * -strength, seed)


def smuggling(
    contribution: Contribution,
    *,
    strength: float,
    seed: int,
    defects: Defects | None = None,
    **_: object,
) -> Contribution:
    """A share ``strength`` of the rows replaced by rows of defects, as far as there are any.

    The targeted poisoning that matters: the bank then finds such defects unremarkable. Also
    what a site with dirty training folders does unawares. The defects come first, where
    nothing that takes a prefix of the rows cuts them off.
    """
    if not defects:
        raise ConfigError("the attack 'smuggling' needs rows of defects")

    def smuggled(part: Part, rng: np.random.Generator, section: str) -> np.ndarray:
        given = np.asarray(defects.get(section, part.features[:0]), dtype=np.float32)
        wanted = min(round(_share(strength) * len(part.features)), len(given))
        chosen = given[rng.permutation(len(given))[:wanted]]
        return np.concatenate([chosen, part.features[: len(part.features) - wanted]])

    parts = {
        name: replace(part, features=smuggled(part, rng, name))
        for name, part, rng in _sections(contribution, seed)
    }
    return replace(contribution, parts=parts)


def duplicates(
    contribution: Contribution, *, strength: float, seed: int, **_: object
) -> Contribution:
    """Eight of the rows repeated to 10 · strength times the honest number (at least once it).

    Flooding: outvotes other sites wherever rows are counted.
    """

    def flooded(part: Part, rng: np.random.Generator) -> np.ndarray:
        few = part.features[rng.permutation(len(part.features))[:FLOOD_ROWS]]
        total = len(part.features) * max(1.0, FLOOD * strength)
        return few[np.arange(round(total)) % len(few)]

    return _changed(contribution, flooded, seed)


def nan(contribution: Contribution, *, strength: float, seed: int, **_: object) -> Contribution:
    """NaN somewhere in a share ``strength`` of the rows, at least one.

    A crashed computation, or an attempt to make every mean and every distance NaN.
    """
    return _planted(contribution, np.nan, strength, seed)


def inf(contribution: Contribution, *, strength: float, seed: int, **_: object) -> Contribution:
    """As `nan`, with infinity: overflow in low precision, or an unbeatable outlier."""
    return _planted(contribution, np.inf, strength, seed)


def huge_counts(
    contribution: Contribution, *, strength: float, seed: int, **_: object
) -> Contribution:
    """Honest rows, but 10^(9 · strength) times as many images and patches claimed.

    A site that wants the whole bank wherever sites count by their images.
    """
    factor = 10.0 ** (ABSURD * strength)
    parts = {
        name: replace(part, images=int(part.images * factor), patches=int(part.patches * factor))
        for name, part in contribution.parts.items()
    }
    return replace(contribution, parts=parts)


def centroid_drag(
    contribution: Contribution,
    *,
    strength: float,
    seed: int,
    defects: Defects | None = None,
    **_: object,
) -> Contribution:
    """Rows moved the share ``strength`` of the way to one target, then to their old norm.

    A pull on cell centres by rows that each look possible (cf. "A Little Is Enough", Baruch
    et al., NeurIPS 2019). The target is the middle of the section's defects if there are
    any, else one of the site's own rows.
    """

    def dragged(part: Part, rng: np.random.Generator, section: str) -> np.ndarray:
        given = (defects or {}).get(section, ())
        rows = part.features
        target = np.mean(given, axis=0) if len(given) else rows[rng.integers(len(rows))]
        moved = rows + np.float32(_share(strength)) * (target.astype(np.float32) - rows)
        norms = np.linalg.norm(moved, axis=1, keepdims=True)
        back = np.linalg.norm(rows, axis=1, keepdims=True) / np.where(norms > 0, norms, 1)
        return moved * back

    parts = {
        name: replace(part, features=dragged(part, rng, name).astype(np.float32))
        for name, part, rng in _sections(contribution, seed)
    }
    return replace(contribution, parts=parts)


def mimic(
    contribution: Contribution, *, strength: float, seed: int, peers: Peers = (), **_: object
) -> Contribution:
    """Another site's sections under one's own name: the share ``strength`` of their rows.

    What that site makes then counts twice or more (Karimireddy et al., "Byzantine-Robust
    Learning on Heterogeneous Datasets via Bucketing", ICLR 2022). Attackers with equal seed
    and peers pick the same site.
    """
    others = sorted((p for p in peers if p.site != contribution.site), key=lambda p: p.site)
    if not others:
        raise ConfigError("the attack 'mimic' needs the contributions of other sites")
    victim = others[int(np.random.default_rng(seed).integers(len(others)))]
    parts = {
        name: replace(
            part,
            features=part.features[: max(1, round(_share(strength) * len(part.features)))].copy(),
        )
        for name, part in victim.parts.items()
    }
    return replace(contribution, parts=parts)


ATTACKS: Mapping[str, Callable[..., Contribution]] = {
    "scaling": scaling,
    "noise": noise,
    "sign_flip": sign_flip,
    "smuggling": smuggling,
    "duplicates": duplicates,
    "nan": nan,
    "inf": inf,
    "huge_counts": huge_counts,
    "centroid_drag": centroid_drag,
    "mimic": mimic,
}


def malicious_sites(names: Sequence[str], fraction: float, seed: int) -> tuple[str, ...]:
    """Which sites attack: round(fraction · n) of them, drawn by ``seed``, sorted.

    Raises:
        ConfigError: the fraction is not within [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise ConfigError(f"fraction of malicious sites must be within [0, 1], got {fraction}")
    known = sorted(set(names))
    order = np.random.default_rng(seed).permutation(len(known))
    return tuple(sorted(known[at] for at in order[: round(fraction * len(known))]))


def _share(strength: float) -> float:
    return float(min(max(strength, 0.0), 1.0))


def _sections(
    contribution: Contribution, seed: int
) -> Iterator[tuple[str, Part, np.random.Generator]]:
    """Each section with randomness of its own: by seed, site and name."""
    for name, part in sorted(contribution.parts.items()):
        key = zlib.crc32(f"{contribution.site}\0{name}".encode())
        yield name, part, np.random.default_rng([seed, key])


def _changed(
    contribution: Contribution,
    change: Callable[[Part, np.random.Generator], np.ndarray],
    seed: int,
) -> Contribution:
    """The contribution with other rows; counts stay possible for as many rows."""
    parts = {}
    for name, part, rng in _sections(contribution, seed):
        rows = np.ascontiguousarray(change(part, rng), dtype=np.float32)
        parts[name] = replace(part, features=rows, patches=max(part.patches, len(rows)))
    return replace(contribution, parts=parts)


def _planted(contribution: Contribution, value: float, strength: float, seed: int) -> Contribution:
    """One value of some rows replaced."""

    def planted(part: Part, rng: np.random.Generator) -> np.ndarray:
        rows = part.features.copy()
        count = max(1, round(_share(strength) * len(rows)))
        at = rng.permutation(len(rows))[:count]
        rows[at, rng.integers(rows.shape[1], size=count)] = value
        return rows

    return _changed(contribution, planted, seed)
