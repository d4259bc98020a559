"""The server's side of private rounds: add the sums, read the bank, cut anew for the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.bank.section import MERGED, Section
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import CoresetError, PrivacyError
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.files import write_atomically
from fedpatchcore.privacy.codebook import ANY, Codebook
from fedpatchcore.privacy.releases import Release
from fedpatchcore.privacy.round_noise import round_sigma, sums_over
from fedpatchcore.privacy.shares import surveys
from fedpatchcore.privacy.sums import ImageSums, Readout
from fedpatchcore.privacy.survey import moved, survey_of
from fedpatchcore.sealed import read_sealed, sealed
from fedpatchcore.wire.messages import TrainReply

__all__ = ["PrivateRounds"]

WHOLE = ""  # stands for all sites, where none's own sums are known


class PrivateRounds:
    """Noisy sums of one round by section and site, and the codebooks they are made over.

    Only sums over one codebook add up, so a round's bank is made of the sites that answered
    in it; a site that is absent adds nothing (and is charged nothing).

    Attributes:
        codebooks: by section; `ANY` is the public one, for sections without their own.
        number: of the round they are for.
    """

    def __init__(self, config: RunConfig, codebook: Codebook) -> None:
        self.config, self.public, self.number = config, codebook, 1
        first = survey_of(codebook) if surveys(config, config.num_rounds) else codebook
        self.codebooks: dict[str, Codebook] = {ANY: first}
        self.sums: dict[str, dict[str, Release]] = {}
        self.givers: dict[str, list[str]] = {}  # of sums that came opened, as a whole

    def codebook(self, section: str) -> Codebook:
        """The codebook in force for a section."""
        return self.codebooks.get(section, self.codebooks[ANY])

    def over(self, book: Codebook) -> ImageSums:
        """The mechanism of this round over a codebook."""
        return sums_over(self.config, book, self.config.num_rounds, self.number)

    def accept(self, reply: TrainReply) -> None:
        """Take a site's sums. Raises CoresetError if any is not what was asked for."""
        sigma = round_sigma(self.config, self.config.num_rounds, self.number)
        if not reply.releases:
            raise CoresetError(f"site '{reply.site}' sent noisy sums of no section")
        if ANY in reply.releases:
            raise CoresetError(f"site '{reply.site}' sent noisy sums of a section named '{ANY}'")
        for name, release in reply.releases.items():
            book = self.codebook(name)
            shape = self.over(book).shape
            where = f"section '{name}' of site '{reply.site}'"
            release.check(shape, book.digest, sigma, where=where)
        for name, release in reply.releases.items():
            self.sums.setdefault(name, {})[reply.site] = release

    def accept_total(
        self,
        totals: Mapping[str, tuple[np.ndarray, list[str]]],
        noise: Callable[[float], float],
    ) -> None:
        """Take sums that were opened as a whole. Raises CoresetError if images can't give one.

        Args:
            totals: by section the values, int64 of the mechanism's shape, and who added to it.
            noise: standard deviation of a total's noise, from that of a single release.
        """
        found = {}
        for name, (values, _) in totals.items():
            book = self.codebook(name)
            mechanism = self.over(book)
            release = Release(values, noise(mechanism.sigma), book.digest)
            where = f"the opened sum of section '{name}'"
            release.check(mechanism.shape, book.digest, release.sigma, where=where)
            found[name] = {WHOLE: release}
        self.sums |= found
        self.givers |= {name: givers for name, (_, givers) in totals.items()}

    def bank_of_site(self, reply: TrainReply, fingerprint: Fingerprint) -> Contribution:
        """One site's sums as rows, for aggregations that compare sites."""
        parts = {}
        for name, release in reply.releases.items():
            book = self.codebook(name)
            mechanism = self.over(book)
            found = mechanism.read(release.values, sigma=mechanism.sigma)
            parts[name] = Part(found.rows, 1, len(found.rows), found.error)
        return Contribution(reply.site, fingerprint, parts)

    def sections(self) -> dict[str, tuple[Section, dict[str, object]]]:
        """Bank sections of this round, each with the facts its record shows."""
        return {name: self._section(name, given) for name, given in sorted(self.sums.items())}

    def _section(
        self, name: str, given: Mapping[str, Release]
    ) -> tuple[Section, dict[str, object]]:
        mechanism, total, sigma = self._together(name, given)
        found = mechanism.read(total, sigma=sigma)
        section = Section(
            found.rows,
            np.full(len(found.rows), MERGED, np.int32),
            found.error,
            found.error,
            metric=found.metric,
            amplitudes=found.amplitudes,
            row_metrics=found.row_metrics,
        )
        sites = sorted(self.givers.get(name, given))
        return section, _facts(sites, found, noise=sigma / mechanism.sigma)

    def _together(
        self, name: str, given: Mapping[str, Release]
    ) -> tuple[ImageSums, np.ndarray, float]:
        """The mechanism, the sites' sums added up, and the noise of all of them."""
        mechanism = self.over(self.codebook(name))
        total = np.sum([r.values for r in given.values()], axis=0)
        shares = sum((r.sigma / mechanism.sigma) ** 2 for r in given.values())
        return mechanism, total, mechanism.sigma * shares**0.5

    def save(self, folder: Path, fingerprint: Fingerprint) -> None:
        """Write the codebooks of the coming round, one file a section."""
        folder.mkdir()
        for at, (_, book) in enumerate(sorted(self.codebooks.items())):
            book.save(folder / f"{at:04d}.safetensors", fingerprint)
        write_atomically(folder / "sections.json", sealed({"sections": sorted(self.codebooks)}))

    def load(self, folder: Path) -> None:
        """Go on after a round with saved codebooks. Raises PrivacyError if one is damaged."""
        told = read_sealed(folder / "sections.json", error=PrivacyError)
        names = told["sections"] if isinstance(told, dict) else told
        self.codebooks = {
            name: Codebook.load(folder / f"{at:04d}.safetensors")[0]
            for at, name in enumerate(names)
        }
        self.number = 2  # all later ones are alike

    def next_round(self) -> None:
        """Cut each section's codebook where this round's release saw patches; forget the sums."""
        first = self.number == 1 and surveys(self.config, self.config.num_rounds)
        for name, given in self.sums.items():
            mechanism, total, sigma = self._together(name, given)
            if first:
                self.codebooks[name] = moved(self.public, mechanism, total, sigma=sigma)
                continue
            seed = self.config.seed + len(self.sums)
            if book := mechanism.refined(total, sigma=sigma, seed=seed):
                self.codebooks[name] = book
        if first:
            self.codebooks[ANY] = self.public  # for sections that nobody has added to yet
        self.sums, self.givers = {}, {}
        self.number += 1


def _facts(sites: list[str], found: Readout, *, noise: float) -> dict[str, object]:
    """What a round's record shows: so many of these things rise above the noise."""
    lens = found.metric is not None or found.row_metrics is not None
    rejected = 0 if lens else found.of - found.known
    return {
        "rows": len(found.rows),
        "flagged": 0,
        "rejected_rows": rejected,
        "offered_rows": len(found.rows) + rejected,
        "known": found.known,
        "of": found.of,
        "what": found.what,
        "sites": sites,
        "noise_times": noise,
        "noise_error": found.noise,
        "radius": found.error,
    }
