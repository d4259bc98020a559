"""A private site's train reply: nothing leaves that the ledger has not been charged for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.data.content import content_hash
from fedpatchcore.errors import ImageError, PrivacyError
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.tally import Tally
from fedpatchcore.privacy.accounting import gaussian_sigma
from fedpatchcore.privacy.codebook import ANY, Codebook
from fedpatchcore.privacy.ledger import Released
from fedpatchcore.privacy.per_vector import PerVectorGaussian
from fedpatchcore.privacy.releases import Release
from fedpatchcore.privacy.round_noise import round_sigma, sums_over
from fedpatchcore.privacy.sums import ImageSums
from fedpatchcore.site.charging import check_delta, ledger_of, noted, release, request_for
from fedpatchcore.site.methods.registry import Asked
from fedpatchcore.site.selection import own_coreset
from fedpatchcore.site.stopwatch import Stopwatch
from fedpatchcore.wire.messages import SectionStats, TrainReply

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["Work", "distinct_images", "private_reply", "released_sums"]


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
        work = {name: _sums(site, name, codebooks, asked) for name in site.sections()}
        releases = {name: release for name, (release, _) in work.items()}
        sigma = round_sigma(config, config.num_rounds, asked.number)
        note = noted(site, [again for _, again in work.values()], sigma)
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
    site: Site, section: str, codebooks: Mapping[str, Codebook], asked: Asked
) -> tuple[Release, bool]:
    config = site.config
    book = codebooks.get(section) or codebooks.get(ANY)
    if book is None or len(book.centre) != site.backbone.fingerprint.dimension:
        raise PrivacyError(f"the server sent no codebook that fits section '{section}'")
    mechanism = sums_over(config, book, config.num_rounds, asked.number)
    if reason := mechanism.misfit(book, config):
        raise PrivacyError(reason)
    work = Work(mechanism, lambda total: {"values": mechanism.release(total)})
    released = released_sums(site, section, work, asked.run)
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
    recipe = (mechanism.codebook.digest, mechanism.step, *mechanism.form, *work.recipe)
    request = request_for(
        site, section, site.config.dp, mechanism.sigma, used, run, recipe, alone=work.alone
    )
    return release(site, request, lambda: work.draw(total))


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


def _blank(sections: Mapping[str, object]) -> tuple[SectionStats, ...]:
    return tuple(SectionStats(name) for name in sections)
