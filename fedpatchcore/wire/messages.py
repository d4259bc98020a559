"""What sites and server tell each other, independent of what carries it.

Every reply has the same fields at every site; what does not apply is NaN or 0. Images, file
names and single scores are not among them: counts, curves and coresets only. (A site that cannot
reply says why, which may name its folder or a damaged image: `packet.pack_failure`.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from fedpatchcore.bank.contribution import Contribution
from fedpatchcore.errors import CoresetError
from fedpatchcore.planted.cells import CELLS
from fedpatchcore.privacy.releases import LedgerNote, Release
from fedpatchcore.texts import one_line
from fedpatchcore.wire.bounds import is_count, is_figure

__all__ = [
    "BINS",
    "COVERAGE_SITES",
    "ROC_POINTS",
    "EvaluateReply",
    "ProductResult",
    "SectionStats",
    "SiteFacts",
    "TrainReply",
    "Travelled",
]

NAN = math.nan
ROC_POINTS = 101
BINS = 40
# With more sites, who covers whom is kept and shown in part: all of it is sites × sites counts.
COVERAGE_SITES = 60


@dataclass(frozen=True)
class SiteFacts:
    """Answer to a query: who is there and with what.

    Attributes:
        train_images, test_images: found on disk, by product; those for training are 0 where
            their number is private.
        fingerprint: JSON of the backbone's fingerprint.
        simulated: whether this is a virtual site.
        seen: by product the share of its training pictures' area that a crop shows; 0 of other
            geometries, and where nothing is told of private images.
        seconds: that an image takes to become features there, by a trial with noise; 0: not told.
        features: bytes of the features of all training images, 0 where they are private or there
            are none; ``held``: as many as are held at a time.
    """

    site: str
    products: tuple[str, ...]
    train_images: tuple[int, ...]
    test_images: tuple[int, ...]
    device: str
    fingerprint: str
    version: str
    simulated: bool = False
    seen: tuple[float, ...] = ()
    seconds: float = field(default=0.0, compare=False)  # a site that is slower now is the same
    features: int = field(default=0, compare=False)
    held: int = field(default=0, compare=False)

    @property
    def shown(self) -> float:
        """The least share that a crop shows of a product's pictures; 0 where all is seen."""
        return min((share for share in self.seen if share), default=0.0)


@dataclass(frozen=True)
class SectionStats:
    """One section of a train reply.

    Attributes:
        section: product name, or "shared".
        images: training images used (held-out ones not counted).
        represented: images the site regards as represented in the bank after this reply.
        held_out: images set aside for calibration.
        bad: unreadable images.
        extracted, cached: images extracted now, and found in the cache.
        patches: patches the selection saw.
        rows: rows shipped.
        radius: covering radius of the shipped rows over these patches, L2.
        factor: the radius is at most this many times the least possible one for as many rows
            (2 for greedy selection from all patches); 0 where nothing is proved.
        excluded: images that a person took out.
        seen: share of the pictures' area that a crop shows; 0 of other geometries.
        uncovered: patches that no row of the bank covered before this reply.
    """

    section: str
    images: int = 0
    represented: int = 0
    held_out: int = 0
    bad: int = 0
    extracted: int = 0
    cached: int = 0
    patches: int = 0
    rows: int = 0
    radius: float = 0.0
    factor: float = 0.0
    excluded: int = 0
    seen: float = 0.0
    uncovered: int = 0

    def check(self, site: str) -> None:
        """Raise CoresetError for figures that no selection gives: this came over the wire."""
        for item in fields(self)[1:]:
            value = getattr(self, item.name)
            if not (is_count(value) if str(item.type) == "int" else is_figure(value)):
                told = one_line(repr(value), 60)
                raise CoresetError(
                    f"site '{site}' says {item.name} is {told}, which is not possible"
                )
        if self.uncovered > self.patches:
            raise CoresetError(
                f"site '{site}' says {self.uncovered:,} of {self.patches:,} patches were "
                f"uncovered, section '{self.section}', which is not possible"
            )
        if self.rows > self.patches:
            raise CoresetError(
                f"site '{site}' says {self.rows:,} rows of {self.patches:,} patches, section "
                f"'{self.section}', which is not possible"
            )


@dataclass(frozen=True)
class Travelled:
    """How the rows of a reply came over the wire.

    Attributes:
        nbytes: bytes on the wire.
        kinds: encoding by section; float32 where a section is not named.
        errors: largest L2 error of a row by section, as the site states it; already in the
            parts' radii.
    """

    nbytes: int
    kinds: Mapping[str, str]
    errors: Mapping[str, float]


@dataclass(frozen=True)
class TrainReply:
    """A site's answer to a train message.

    Attributes:
        kind: "full" replaces what the server has of this site, "delta" adds to it, "none"
            says that the bank already covers everything here, "sums" brings noisy sums, "masked"
            had them in a secure sum, of which the total alone is known.
        extract_seconds, select_seconds: wall time of the two phases.
        releases: noisy sums by section, for "sums".
        privacy: what the site's ledger says; None without differential privacy.
        memory: bytes that the process took at most while extracting and while selecting, then
            those of its CUDA device; 0 where not told.
        travelled: how the rows came; None if they did not travel.
    """

    site: str
    kind: Literal["full", "delta", "none", "sums", "masked"]
    contribution: Contribution | None
    stats: tuple[SectionStats, ...]
    extract_seconds: float = 0.0
    select_seconds: float = 0.0
    releases: Mapping[str, Release] | None = None
    privacy: LedgerNote | None = None
    memory: tuple[int, int, int, int] = (0, 0, 0, 0)
    travelled: Travelled | None = None

    @property
    def wire_bytes(self) -> int:
        """Bytes on the wire of the features, or sums."""
        return self.travelled.nbytes if self.travelled else self.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes of the features, or sums, shipped."""
        sums = sum(release.values.nbytes for release in (self.releases or {}).values())
        return sums + (self.contribution.nbytes if self.contribution else 0)


@dataclass(frozen=True)
class ProductResult:
    """One product of an evaluate reply. AUROCs in [0, 1]; NaN where undefined.

    Attributes:
        good, defective: test images scored; both 0 where the site has no test set.
        calibrated: normal images behind the threshold, in so many ``groups`` and ``folds``; no
            folds: they were held out.
        image_auroc … aupro: of the global bank. ``local_*``: of the site's own bank alone.
            ``hybrid_*``: of the smaller of both distances, where the two differ in kind (a
            private bank, or one that is scored by vote).
        local_rows: rows of the site's own bank as it was compared.
        local_equal_image_auroc: of its first rows, as many as the global bank's section has; NaN
            where it has no more than these.
        true_positives … false_negatives: verdicts on test images at the threshold.
        fpr_low, fpr_high: 90% interval of the true share of false alarms; ``new_group_fpr``: for
            images of a group that was never seen, NaN where no two images belong together.
        vote_threshold: as ``threshold``, of scores by vote alone; NaN where these are the same.
        hybrid_threshold, local_threshold: of hybrid scores, and of the site's own bank at the size
            of the global one; ``local_true_positives`` … are verdicts by it.
        kinds: by kind of defect how many test images were found, and of how many.
        roc: true-positive rate at `ROC_POINTS` evenly spaced false-positive rates.
        histogram_good, histogram_defective: counts in `BINS` equal bins from 0 to
            ``histogram_top``.
        planted_found, planted_of: planted defects that the threshold finds, and how many there
            are, by cell of `fedpatchcore.planted.cells.CELLS`; all 0 where none was planted.
        planted_pictures: of good parts that they were planted into; ``planted_stopped``: of these
            as they are, above the threshold; ``planted_learnt``: 1 if the bank learnt from them.
        coverage: patches of this site's normal images whose nearest bank row came from each
            of the bank's sites, in the bank's order.
        uncovered: share of the patches of its normal images that lie farther from the bank than it
            covers, where the site has given nothing to it; NaN elsewhere.
    """

    product: str
    good: int = 0
    defective: int = 0
    calibrated: int = 0
    groups: int = 0
    folds: int = 0
    bad: int = 0
    image_auroc: float = NAN
    average_precision: float = NAN
    f1_best: float = NAN
    pixel_auroc: float = NAN
    aupro: float = NAN
    spro_001: float = NAN
    spro_005: float = NAN
    spro_01: float = NAN
    spro_03: float = NAN
    spro_1: float = NAN
    threshold: float = NAN
    vote_threshold: float = NAN
    promised_fpr: float = 1.0
    fpr_low: float = 0.0
    fpr_high: float = 1.0
    new_group_fpr: float = NAN
    hybrid_threshold: float = NAN
    local_threshold: float = NAN
    local_true_positives: int = 0
    local_false_positives: int = 0
    true_positives: int = 0
    false_positives: int = 0
    true_negatives: int = 0
    false_negatives: int = 0
    local_rows: int = 0
    local_image_auroc: float = NAN
    local_equal_image_auroc: float = NAN
    local_average_precision: float = NAN
    local_pixel_auroc: float = NAN
    uncovered: float = NAN
    hybrid_image_auroc: float = NAN
    hybrid_average_precision: float = NAN
    hybrid_pixel_auroc: float = NAN
    histogram_top: float = 0.0
    roc: tuple[float, ...] = (NAN,) * ROC_POINTS
    histogram_good: tuple[int, ...] = (0,) * BINS
    histogram_defective: tuple[int, ...] = (0,) * BINS
    planted_found: tuple[int, ...] = (0,) * len(CELLS)
    planted_of: tuple[int, ...] = (0,) * len(CELLS)
    planted_pictures: int = 0
    planted_stopped: int = 0
    planted_learnt: int = 0
    coverage: tuple[int, ...] = ()
    kinds: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluateReply:
    """A site's answer to an evaluate message.

    Attributes:
        memory: bytes that the process, and its CUDA device, took at most; 0 where not told.
    """

    site: str
    results: tuple[ProductResult, ...]
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())
    memory: tuple[int, int] = (0, 0)
