"""A private site's train reply: nothing leaves that the ledger has not been charged for."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.config import RunConfig
from fedpatchcore.data.content import content_hash
from fedpatchcore.errors import ImageError, PrivacyError
from fedpatchcore.features.extraction import Extractor, Tally
from fedpatchcore.privacy.accounting import gaussian_sigma, max_delta
from fedpatchcore.privacy.codebook import ANY, Codebook
from fedpatchcore.privacy.ledger import Ledger, Released, Request
from fedpatchcore.privacy.load import Load, load_of
from fedpatchcore.privacy.per_vector import PerVectorGaussian
from fedpatchcore.privacy.registry import MECHANISMS
from fedpatchcore.privacy.releases import LedgerNote, Release
from fedpatchcore.privacy.round_noise import round_sigma, sums_over
from fedpatchcore.privacy.sums import ImageSums
from fedpatchcore.site.methods.registry import Asked
from fedpatchcore.site.selection import own_coreset
from fedpatchcore.site.stopwatch import Stopwatch
from fedpatchcore.wire.messages import SectionStats, TrainReply

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = [
    "Work",
    "check_delta",
    "distinct_images",
    "ledger_of",
    "noted",
    "private_reply",
    "release",
    "released_sums",
    "request_for",
]


def private_reply(site: Site, codebooks: Mapping[str, Codebook], asked: Asked) -> TrainReply:
    """The noisy answer to a train message, every figure of private images withheld.

    Raises:
        PrivacyError: the budget does not suffice, the ledger is damaged, δ is too large for
            so many images, or the server sent no codebook. Nothing has left then.
    """
    config, run = site.config, asked.run
    ledger_of(site)
    if config.mechanism and config.mechanism.learned:
        from fedpatchcore.site.private_training import trained_reply

        return trained_reply(site, asked)
    if config.secure_sums:
        raise PrivacyError("with secure-sums noisy sums leave under masks alone, and were asked so")
    if config.sums:
        work = {name: _sums(site, name, codebooks, run) for name in site.sections()}
        releases = {name: release for name, (release, _) in work.items()}
        note = noted(
            site, [again for _, again in work.values()], round_sigma(config, config.num_rounds)
        )
        return TrainReply(
            site.name, "sums", None, _blank(releases), releases=releases, privacy=note
        )
    parts, again, multipliers = {}, [], []
    mechanism = PerVectorGaussian(
        config.dp_clip, config.dp_clip * gaussian_sigma(config.dp_epsilon, config.dp_delta)
    )
    for name in site.sections():
        rows, sent_before = _noised_rows(site, name, mechanism, run)
        parts[name] = Part(rows, 1, len(rows), 0.0)
        again.append(sent_before)
        multipliers.append(mechanism.image_multiplier(len(rows)))
    note = noted(site, again, min(multipliers))
    given = Contribution(site.name, site.backbone.fingerprint, parts)
    stats = tuple(
        SectionStats(name, images=1, patches=len(p.features), rows=len(p.features))
        for name, p in parts.items()
    )
    return TrainReply(site.name, "full", given, stats, privacy=note)


def _sums(
    site: Site, section: str, codebooks: Mapping[str, Codebook], run: str
) -> tuple[Release, bool]:
    config = site.config
    book = codebooks.get(section) or codebooks.get(ANY)
    if book is None or len(book.centre) != site.backbone.fingerprint.dimension:
        raise PrivacyError(f"the server sent no codebook that fits section '{section}'")
    mechanism = sums_over(config, book, config.num_rounds)
    if reason := mechanism.misfit(book, config):
        raise PrivacyError(reason)
    work = Work(mechanism, lambda total: {"values": mechanism.release(total)})
    released = released_sums(site, section, work, run)
    return Release(released.arrays["values"], mechanism.sigma, book.digest), released.again


@dataclass(frozen=True)
class Work:
    """One section's noisy sums.

    Attributes:
        draw: from the total, what may leave.
        recipe: what tells this release from others over the same codebook.
        alone: noise multiplier if all others collude; None if no one else's noise counts.
    """

    mechanism: ImageSums
    draw: Callable[[np.ndarray], Mapping[str, np.ndarray]]
    recipe: tuple[object, ...] = ()
    alone: float | None = None


def released_sums(site: Site, section: str, work: Work, run: str) -> Released:
    """A section's sums over the site's images through its ledger. Raises PrivacyError."""
    mechanism, used = work.mechanism, []
    images = distinct_images(site, section, used)
    total = mechanism.total(one.reshape(-1, one.shape[-1]) for one in images)
    check_delta(site.config, len(used))
    recipe = (mechanism.codebook.digest, mechanism.step, *work.recipe)
    request = request_for(
        site, section, site.config.dp, mechanism.sigma, used, run, recipe, alone=work.alone
    )
    return release(site, request, lambda: work.draw(total))


def ledger_of(site: Site) -> Ledger:
    """The site's ledger. Raises PrivacyError if it has none."""
    if site.policy.ledger is None:
        raise PrivacyError(f"site '{site.name}' has no ledger: name a folder with ledger='...'")
    return site.policy.ledger


def distinct_images(
    site: Site, section: str, used: list[str], *, held_out: bool = True
) -> Iterator[np.ndarray]:
    """Features ``[h, w, D]`` of each image once, however many copies of its file there are.

    Nothing here may depend on which *other* images there are, or one image would move more than
    its own share of the sum:

    * A second copy of a file would let one image count twice.
    * One image more changes the whole seeded hold-out, so the held-out images are summed too;
      one of them weighs little in a sum over all, and the noise hides even that.
    * The last digits of features depend on the size of the batch, so each is its own batch.

    Without ``held_out`` they are left aside, where it is not one image that is protected but all.
    """
    images = site.training_images(section)
    first: dict[str, Path] = {}
    for path in (*images.used, *(images.held_out if held_out else ())):
        first.setdefault(_content(path), path)
    keys = list(first)
    tool = Extractor(
        site.backbone,
        batch_size=1,
        max_bad_images=site.config.max_bad_images,
        cache=site.cache,
        on_bad=site.extractor.on_bad,
    )
    for at, features in tool.stream(list(first.values()), Tally()):
        used.append(keys[at])
        yield features


def _content(path: Path) -> str:
    """A file's content hash; one that cannot be read stands for itself and is skipped later."""
    try:
        return content_hash(path)
    except ImageError:
        return f"unreadable:{path}"


def _noised_rows(
    site: Site, section: str, mechanism: PerVectorGaussian, run: str
) -> tuple[np.ndarray, bool]:
    config, images = site.config, site.training_images(section)
    if not config.coreset_size:
        raise PrivacyError(
            "dp='per-vector' needs coreset-size: by coreset-ratio the number of rows would tell "
            "the number of images"
        )
    own = own_coreset(images, site.extractor, config, Stopwatch())
    rows = np.zeros((config.coreset_size, own.rows.shape[1]), np.float32)  # always as many
    rows[: own.shipped] = own.rows[: own.shipped]
    check_delta(config, len(set(images.keys)))
    multiplier = mechanism.image_multiplier(len(rows))
    recipe = (
        mechanism.clip,
        mechanism.step,
        config.seed,
        len(rows),
        config.coreset,
        config.density_filter,
    )
    # held-out images too: which images are held out depends on each of them
    keys = (*images.keys, *images.held_keys)
    request = request_for(site, section, config.dp, multiplier, keys, run, recipe)
    released = release(site, request, lambda: {"rows": mechanism.release(rows)})
    return released.arrays["rows"], released.again


def request_for(
    site: Site,
    section: str,
    mechanism: str,
    multiplier: float,
    images: Iterable[str],
    run: str,
    recipe: tuple[object, ...],
    *,
    alone: float | None = None,
    rate: float | None = None,
    steps: int | None = None,
) -> Request:
    """A section's release of a run, for the site's ledger.

    Args:
        recipe: all that tells it from others of the run; asked for again, it has the same key.
        alone: noise multiplier if all others collude.
        rate, steps: of steps that take an image by chance (`fedpatchcore.privacy.load`).
    """
    images = sorted(set(images))
    # Of this run and no other: sent again in a later run, equal bytes would tell, without any
    # noise, that the images are still the same.
    told = (
        run,
        mechanism,
        site.backbone.fingerprint.digest,
        site.name,
        section,
        multiplier,
        recipe,
    )
    return Request(
        key=hashlib.sha256(repr(told).encode()).hexdigest(),
        run=run,
        site=site.name,
        section=section,
        mechanism=mechanism,
        epsilon=load_of(multiplier, rate, steps).epsilon(site.config.dp_delta),
        delta=site.config.dp_delta,
        multiplier=multiplier,
        alone=alone,
        alone_budget=site.policy.alone_limit(site.config),
        rate=rate,
        steps=steps,
        images=images,
        label=MECHANISMS[mechanism].label,
        # of rows the nominal epsilon is none of an image's: there the budget alone decides
        run_epsilon=site.config.dp_epsilon if MECHANISMS[mechanism].per_image else math.inf,
    )


def check_delta(config: RunConfig, images: int) -> None:
    if config.dp_delta > max_delta(images):
        raise PrivacyError(
            f"dp-delta={config.dp_delta:g} is too large for the images here: it must not exceed "
            "the smaller of 1e-5 and 1/(10 × number of images)"
        )


def release(site: Site, request: Request, draw: Callable[[], Mapping[str, np.ndarray]]) -> Released:
    """Through the site's ledger, and said in its log."""
    limit = site.policy.limit(site.config)
    released = site.policy.ledger.release(request, draw, budget_epsilon=limit, delta=request.delta)
    whole = MECHANISMS[request.mechanism].per_image
    unit = "per image" if whole else "per vector, not per image; for an image"
    if MECHANISMS[request.mechanism].by_server:
        unit = "of the site, whose images are all protected together"
        unit += ", once the server adds the noise;" if site.config.seen else ";"
    if request.alone is not None:
        unit += f"; ε={released.alone:.4g} spent if all others collude"
    site.say(
        f"{request.section}: private release ({request.mechanism}, {unit} "
        f"ε={request.epsilon:.4g}, δ={request.delta:g}), ε spent {released.spent:.4g} of {limit:g}"
        + (", sent before: not charged again" if released.again else "")
    )
    return released


def noted(site: Site, again: list[bool], asked: float | Load) -> LedgerNote:
    """What the site's ledger says after a release of that noise multiplier, or that load."""
    config = site.config
    told = site.policy.ledger.summary(config.dp_delta, site.policy.limit(config))
    return LedgerNote(
        mechanism=config.dp,
        asked=(asked if isinstance(asked, Load) else load_of(asked, None, None)).epsilon(
            config.dp_delta
        ),
        again=bool(again) and all(again),
        **{**told, "begun": told["begun"] or ""},
    )


def _blank(sections: Mapping[str, object]) -> tuple[SectionStats, ...]:
    return tuple(SectionStats(name) for name in sections)
