"""The memory bank: what "normal" looks like, one section a product, in one file.

File: ``.safetensors`` (no code can hide in it) with one metadata entry ``fedpatchcore``: a
JSON header with the fingerprint, the sections (rows, covering radius, rows per site), round,
aggregation, thresholds, privacy summary and library version. Tensor ``i.features`` float32
``[M, D]`` and ``i.origin`` int32 ``[M]`` belong to the i-th section, and ``i.metric`` float32
``[D, r]``, ``i.amplitudes`` float32 ``[2r]`` and ``i.student`` float32 ``[P]`` where its header
says so. Equal banks give equal
bytes: no clock, no host name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.bank.header import Header
from fedpatchcore.bank.section import SHARED, Section, rows_by_site
from fedpatchcore.deviation import middle
from fedpatchcore.errors import BankError, ConfigError
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.files import read_arrays, read_header, to_bytes, to_parts, write_atomically
from fedpatchcore.version import VERSION

__all__ = ["MemoryBank"]

FORMATS = (1, 2)  # 2: scored in a way that a library which reads 1 alone does not know


@dataclass(frozen=True)
class MemoryBank:
    """Sections of normal patch features with their provenance.

    Attributes:
        thresholds: ``{section: {site: score}}``, see `fedpatchcore.detection.calibration`.
        scoring: ``neighbours`` and ``reweight`` that the thresholds were set with; ``votes``
            that a normal patch takes, and ``home``: 1 if a site trusts its own rows in the
            vote (`fedpatchcore.detection.search.Ballot`); 0, or none: it does not; ``tolerated``:
            faulty sites that the bank withstands (``votes`` - 1 where sites vote); ``top``:
            millionths of a picture's patches whose mean is its score, the largest alone without.
        privacy: what protects the training images; ``{"mechanism": "off"}`` says nothing does.
        vote_thresholds: as ``thresholds``, of scores by vote alone, where a site has others.
        calibration: ``{section: {site: figures}}``, what each threshold rests on and promises
            (`fedpatchcore.detection.calibration.Threshold.told`).
        excluded: ``{section: {site: count}}``, training images that a person took out.
        planted: ``{section: {site: figures}}``, planted defects ``found`` and ``of`` how many, and
            the sizes ``a50``, ``a90``, ``a90_95`` where the trials determine a curve
            (`fedpatchcore.metrics.planted_found`).
        hybrid: of a site's own bank, by product: the `Section.digest` of the bank ``beside`` it,
            the ``threshold`` of both together and, where they are not of one unit, the scales of
            its ``own`` scores and of the ``given`` bank's
            (`fedpatchcore.detection.scale.Scale`).
    """

    fingerprint: Fingerprint
    sections: Mapping[str, Section]
    sites: tuple[str, ...] = ()
    round: int = 0
    aggregation: str = "none"
    scoring: Mapping[str, int] = field(default_factory=lambda: {"neighbours": 1, "reweight": 0})
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    privacy: Mapping[str, Any] = field(default_factory=lambda: {"mechanism": "off"})
    vote_thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    calibration: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    excluded: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    hybrid: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    planted: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        dimension = self.fingerprint.dimension
        for name, part in self.sections.items():
            part.check(name, dimension, len(self.sites))

    def __len__(self) -> int:
        return sum(len(s) for s in self.sections.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all features."""
        return sum(s.features.nbytes for s in self.sections.values())

    def section(self, product: str) -> Section:
        """The rows to compare images of ``product`` with. Raises BankError if it has none."""
        if SHARED in self.sections:
            return self.sections[SHARED]
        if product not in self.sections:
            raise BankError(
                f"the bank has no section for product '{product}' "
                f"(it has {', '.join(sorted(self.sections)) or 'none'})"
            )
        return self.sections[product]

    def product(self, asked: str = "") -> str:
        """The product asked for, or the only one. Raises ConfigError if there are several."""
        if not asked and len(self.sections) != 1:
            known = ", ".join(sorted(self.sections))
            raise ConfigError(f"the bank holds several products, name one of: {known} (--product)")
        return asked or next(iter(self.sections))

    def thresholds_of(self, product: str, *, voted: bool = False) -> dict[str, float]:
        """Finite thresholds of a product by site; ``voted``: of scores by vote alone."""
        given = self.vote_thresholds if voted else self.thresholds
        values = given.get(product if product in given else SHARED, {})
        return {site: value for site, value in values.items() if np.isfinite(value)}

    def worth_of(self, product: str, site: str) -> Mapping[str, float] | None:
        """What ``calibration`` holds of a site's threshold; None if nothing."""
        own = self.calibration
        return own.get(product if product in own else SHARED, {}).get(site)

    def threshold(self, product: str, site: str = "") -> float:
        """Threshold of one site, or the median over the sites that calibrated; NaN if none.

        Where a bank withstands f sites and no more than 2f calibrated, it is
        `fedpatchcore.deviation.middle`, which f sites cannot raise: a mean of two would be any one
        site's to choose.

        Without a site it is for scores by vote alone, if sites trust their own rows.
        """
        if site:
            name = product if product in self.thresholds else SHARED
            values = self.thresholds.get(name, {})
            if site not in values:
                known = ", ".join(sorted(values)) or "none"
                raise BankError(f"no threshold of site '{site}' for '{product}' (sites: {known})")
            return values[site]
        finite = self.thresholds_of(product, voted=bool(self.scoring.get("home")))
        if not finite:
            return float("nan")
        values = list(finite.values())
        faulty = self.scoring.get("tolerated", self.scoring.get("votes", 1) - 1)
        return float(np.median(values) if len(values) > 2 * faulty else middle(values, faulty))

    def with_thresholds(self, thresholds: Mapping[str, Mapping[str, float]]) -> MemoryBank:
        """The same rows with other thresholds."""
        return replace(self, thresholds=thresholds)

    def header(self) -> dict[str, Any]:
        """The JSON header as plain values."""
        sections = [
            {
                "name": name,
                "rows": len(part),
                "radius": float(part.radius),
                "covers": float(part.covers),
                "images": {k: int(v) for k, v in sorted(part.images.items())},
                "rows_by_site": rows_by_site(part.origin, self.sites),
                "flagged": int(part.flagged),
                **{name: one.shape[-1] for name, one in part.lens.items()},
            }
            for name, part in sorted(self.sections.items())
        ]
        return {
            "format": 2 if "top" in self.scoring else 1,
            "library_version": VERSION,
            "fingerprint": self.fingerprint.model_dump(mode="json"),
            "sections": sections,
            "sites": list(self.sites),
            "round": self.round,
            "aggregation": self.aggregation,
            "scoring": dict(self.scoring),
            "thresholds": _finite(self.thresholds),
            "privacy": dict(self.privacy),
            **({"vote_thresholds": told} if (told := _finite(self.vote_thresholds)) else {}),
            **({"calibration": _sorted(self.calibration)} if self.calibration else {}),
            **({"excluded": _sorted(self.excluded)} if self.excluded else {}),
            **({"hybrid": _sorted(self.hybrid)} if self.hybrid else {}),
            **({"planted": _sorted(self.planted)} if self.planted else {}),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """``i.features``, ``i.origin`` and what else the i-th section has, by name."""
        arrays: dict[str, np.ndarray] = {}
        for at, (_, part) in enumerate(sorted(self.sections.items())):
            arrays[f"{at}.features"] = part.features
            arrays[f"{at}.origin"] = part.origin
            arrays |= {f"{at}.{name}": one for name, one in part.lens.items()}
        return arrays

    def to_bytes(self) -> bytes:
        """The file's content."""
        return to_bytes(self.arrays(), self.header())

    def save(self, path: Path | str) -> None:
        """Write the file atomically. Raises BankError if the place cannot be written."""
        try:
            write_atomically(Path(path), to_parts(self.arrays(), self.header()))
        except OSError as error:
            raise BankError(f"cannot write bank {path}: {error.strerror}") from None

    @classmethod
    def load(cls, path: Path | str) -> MemoryBank:
        """Read and validate. Raises BankError if the file is cut short, foreign or inconsistent."""
        text, arrays = read_arrays(Path(path), kind="bank", error=BankError)
        return cls.from_header(text, arrays, where=f"bank file {path}")

    @classmethod
    def from_header(cls, text: str, arrays: Mapping[str, np.ndarray], *, where: str) -> MemoryBank:
        """A bank from its JSON header and arrays, as `arrays` and `header` give them."""
        header = read_header(text, Header, where=where, error=BankError)
        if header.format not in FORMATS:
            raise BankError(f"{where} has format {header.format}; this version reads {FORMATS[-1]}")
        if len({part.name for part in header.sections}) < len(header.sections):
            raise BankError(f"{where} names a section twice")
        parts = list(enumerate(header.sections))
        named = {f"{at}.{what}" for at, _ in parts for what in ("features", "origin")}
        columns = {f"{at}.metric": part.metric for at, part in parts if part.metric}
        columns |= {f"{at}.amplitudes": p.amplitudes for at, p in parts if p.amplitudes}
        columns |= {f"{at}.student": p.student for at, p in parts if p.student}
        columns |= {f"{at}.row_metrics": p.row_metrics for at, p in parts if p.row_metrics}
        if named | set(columns) != set(arrays) or any(
            arrays[k].shape[-1:] != (v,) for k, v in columns.items()
        ):
            raise BankError(f"{where}: its arrays do not match its header")
        sections = {}
        for at, part in parts:
            rows, origin = arrays[f"{at}.features"], arrays[f"{at}.origin"]
            if rows.ndim != 2 or len(rows) != part.rows:
                raise BankError(f"{where}: section '{part.name}' does not have {part.rows} rows")
            sections[part.name] = Section(
                rows,
                origin,
                part.radius,
                part.covers,
                part.images,
                part.flagged,
                arrays.get(f"{at}.metric"),
                arrays.get(f"{at}.amplitudes"),
                arrays.get(f"{at}.student"),
                arrays.get(f"{at}.row_metrics"),
            )
        return cls(
            header.fingerprint,
            sections,
            tuple(header.sites),
            header.round,
            header.aggregation,
            header.scoring,
            header.thresholds,
            header.privacy,
            header.vote_thresholds,
            _by_site(header.calibration),
            header.excluded,
            {name: one.model_dump(exclude_none=True) for name, one in header.hybrid.items()},
            _by_site(header.planted),
        )


def _by_site(given: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Models of a header as plain tables, without what is not told."""
    return {
        name: {site: one.model_dump(exclude_none=True) for site, one in own.items()}
        for name, own in given.items()
    }


def _sorted(given: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: dict(sorted(own.items())) for name, own in sorted(given.items())}


def _finite(given: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {
        name: {site: v for site, v in sorted(values.items()) if np.isfinite(v)}
        for name, values in sorted(given.items())
    }
