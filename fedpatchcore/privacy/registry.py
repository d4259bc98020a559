"""The privacy mechanisms there are, by the word of ``dp``; a module is loaded when it is used.

A further mechanism of noisy sums is a file with a subclass of `ImageSums` and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fedpatchcore.spelling import typed

if TYPE_CHECKING:
    import numpy as np

    from fedpatchcore.privacy.sums import ImageSums

__all__ = ["MECHANISMS", "NO_PROTECTION", "Mechanism", "examples"]

NO_PROTECTION = "Coreset rows left this site without noise: nothing protects these images."


@dataclass(frozen=True)
class Mechanism:
    """What one word of ``dp`` stands for: how it behaves, and how it is told.

    Attributes:
        name: the word.
        sums: ``module:class`` in this room, a subclass of `ImageSums`; "" where sites send rows
            with noise.
        worst: ``module:function`` in this room that makes, from a codebook and a number of patches,
            the image that moves the sums most; for audits.
        bank: what the header of a bank calls the way it was made.
        several_rounds: whether a run may have several, each of which costs.
        one_row: makes one row a product and a metric: nothing to compare between sites.
        learned: for methods that train, and for them alone.
        by_server: the noise is the server's, who sees what it hides.
        adjacency: which data sets cannot be told apart.
        own: settings of privacy that count with it, beside those of all its kind.
        clipped: what ``dp-clip`` bounds; "" where it bounds nothing.
        sent: what leaves a site, in few words.
        label: what the ledger of a site says is protected, one sentence.
        unit: what the header of a bank says is protected.
        covered: what (ε, δ) covers.
        explained: how it works, for the report.
        secure: ``label``, ``unit`` and ``explained`` of secure sums, where they are others.
    """

    name: str
    explained: str
    secure: Mapping[str, str] = field(default_factory=dict)
    sums: str = ""
    worst: str = ""
    bank: str = ""
    several_rounds: bool = False
    one_row: bool = False
    learned: bool = False
    by_server: bool = False
    adjacency: str = "add/remove"
    own: tuple[str, ...] = ()
    clipped: str = ""
    sent: str = "noisy sums"
    label: str = (
        "Whether any one training image (all its patches) was used at this site can hardly be "
        "told from what left it: (ε, δ)-differential privacy per image, add/remove adjacency."
    )
    unit: str = (
        "One training image of one facility, with everything in it: from all that this run made "
        "public, nobody can tell with confidence beyond (ε, δ) whether that image was used."
    )
    covered: str = "the noisy sums each site sent, and all that was made of them: the bank"

    def __post_init__(self) -> None:
        if self.sums and not (self.worst and self.bank):
            raise ValueError(f"mechanism '{self.name}' needs its worst image and a bank's word")

    def words(self, which: str, *, secure: bool) -> str:
        """The ``label``, ``unit`` or ``explained`` of a run, with secure sums or without."""
        return (self.secure.get(which) if secure else "") or getattr(self, which)

    @property
    def per_image(self) -> bool:
        """Whether an image is protected, and not one row alone."""
        return bool(self.sums) or self.learned

    def load(self) -> type[ImageSums]:
        """The class of the noisy sums."""
        return _load(self.sums)

    def worst_image(self, *args: Any) -> np.ndarray:
        """An image that moves the sums most, patches float32 ``[P, D]``."""
        make: Callable[..., np.ndarray] = _load(self.worst)
        return make(*args)


def examples(*, rows: bool = False, sums: bool = False, learned: bool = False) -> str:
    """``dp`` set to a mechanism that protects an image, as it is typed, for messages.

    Args:
        rows: only those whose banks have rows that can be compared between sites.
        sums: only those of noisy sums.
        learned: only those of methods that train.
    """
    found = [
        m.name
        for m in MECHANISMS.values()
        if m.per_image
        and not (rows and (m.one_row or m.learned))
        and not (sums and not m.sums)
        and not (learned and not m.learned)
    ]
    return " or ".join(typed("dp", name) for name in found)


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"fedpatchcore.privacy.{module}"), name)


MECHANISMS: Mapping[str, Mechanism] = {
    one.name: one
    for one in (
        Mechanism(
            "cells",
            sums="cells:CellSums",
            worst="cells:cell_canary",
            bank="cell_sums",
            own=("dp_cells", "dp_first_share"),
            several_rounds=True,
            explained="Each site cuts its patches by a public codebook, adds what its images have "
            "in the cells and adds Gaussian noise to the sums, calibrated to one whole image; the "
            "bank is read from the noisy sums alone.",
        ),
        Mechanism(
            "moments",
            sums="moments:MomentSums",
            worst="moments:moment_canary",
            bank="moment_sums",
            own=("dp_power", "dp_regions"),
            several_rounds=True,
            one_row=True,
            explained="Each site adds up what mean its images have in a public slice of feature "
            "space and how their patches spread about it, and adds Gaussian noise to the sums, "
            "calibrated to one whole image; the bank is one row and a metric (one a region with "
            "dp-regions), read from the noisy sums alone.",
        ),
        Mechanism(
            "kernel",
            sums="kernels:KernelSums",
            worst="moments:moment_canary",
            bank="kernel_sums",
            own=("dp_waves", "dp_bandwidth"),
            one_row=True,
            explained="Each site adds up one function an image, high where the image's patches are "
            "in a public slice of feature space, and adds Gaussian noise to the sum, calibrated to "
            "one whole image; the bank is that function, read from the noisy sums alone.",
        ),
        Mechanism(
            "sgd",
            learned=True,
            several_rounds=True,
            own=("dp_clip", "dp_sample_rate"),
            clipped="an image's gradient in a step",
            sent="noisy updates",
            covered="the updates each site sent, which its steps made of noisy sums of gradients, "
            "and all that was made of them: the model",
            explained="In each local step of a site every image is drawn by chance, its gradient "
            "over all its patches is clipped, and the sum gets Gaussian noise calibrated to one "
            "whole image (DP-SGD); what leaves is what these noisy steps made of the model.",
        ),
        Mechanism(
            "client",
            learned=True,
            by_server=True,
            several_rounds=True,
            adjacency="replace-one (a site)",
            own=("dp_clip", "dp_clipping"),
            clipped="a site's update",
            sent="updates",
            label="All of this site's images together can hardly be told from others by what the "
            "server made public: (ε, δ)-differential privacy of the site, replace-one. The server "
            "saw the site's updates as they are: it adds the noise and must be trusted.",
            unit="All that one facility trains on, replaced by anything else: from the models that "
            "the server made public, nobody can tell with confidence beyond (ε, δ) what it was. "
            "The server itself sees each facility's updates and is trusted.",
            covered="the models that the server made public",
            secure={
                "label": "All of this site's images together can hardly be told from others by "
                "the sums that were opened and all that was made of them: (ε, δ)-differential "
                "privacy of the site, replace-one, against the server, too: the noise is the "
                "sites' own.",
                "unit": "All that one facility trains on, replaced by anything else: from the sums "
                "of updates that were opened, and all that was made of them, nobody can tell with "
                "confidence beyond (ε, δ) what it was, the server included.",
                "explained": "Each site clips its update and adds a share of Gaussian noise "
                "calibrated to one whole site; updates add up under masks and are opened as a "
                "whole, so that nobody sees one site's (client-level privacy, distributed noise).",
            },
            explained="The server clips each site's update, takes their mean and adds Gaussian "
            "noise calibrated to one whole site (client-level privacy, Flower's wrapper); it must "
            "be trusted with the updates.",
        ),
        Mechanism(
            "per-vector",
            own=("dp_clip",),
            clipped="a row",
            sent="noised feature vectors",
            label="Per vector, not per image: noise hides one coreset row given the selection; an "
            "image decides many rows, and for it the ε in this ledger is what holds.",
            unit="One row of a coreset, once it was selected; NOT one image: an image decides "
            "which rows are selected and may own many, and for an image the ε of the ledgers "
            "holds.",
            covered="each coreset row, given the selection",
            explained="Each site clips every row of its coreset and adds Gaussian noise to it, "
            "calibrated to one row; the selection of the rows is not protected.",
        ),
    )
}
