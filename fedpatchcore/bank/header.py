"""The JSON header of a bank's file: what may stand in it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fedpatchcore.features.fingerprint import Fingerprint

__all__ = ["Header"]


class _SectionHeader(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    rows: int
    radius: float
    covers: float
    images: dict[str, int]
    rows_by_site: dict[str, int]
    flagged: int = 0
    metric: int = 0  # its columns; 0: there is none
    amplitudes: int = 0  # their number; 0: there are none
    student: int = 0  # numbers of it; 0: there is none
    row_metrics: int = 0  # columns of each; 0: there are none


class _Worth(BaseModel):
    model_config = ConfigDict(extra="forbid")
    folds: int = Field(ge=0)
    images: int = Field(ge=1)
    groups: int = Field(ge=1)
    promised: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    new_group: float | None = Field(None, ge=0, le=1)


class _Hybrid(BaseModel):
    model_config = ConfigDict(extra="forbid")
    beside: str
    threshold: float
    own: tuple[float, float] | None = None
    given: tuple[float, float] | None = None


class _Planted(BaseModel):
    model_config = ConfigDict(extra="forbid")
    found: int = Field(ge=0)
    of: int = Field(ge=1)
    a50: float | None = Field(None, gt=0)
    a90: float | None = Field(None, gt=0)
    a90_95: float | None = Field(None, gt=0)


class Header(BaseModel):
    model_config = ConfigDict(extra="forbid")
    format: int
    library_version: str
    fingerprint: Fingerprint
    sections: list[_SectionHeader]
    sites: list[str]
    round: int
    aggregation: str
    scoring: dict[str, int]
    thresholds: dict[str, dict[str, float]]
    privacy: dict[str, Any]
    vote_thresholds: dict[str, dict[str, float]] = {}
    calibration: dict[str, dict[str, _Worth]] = {}
    excluded: dict[str, dict[str, int]] = {}
    hybrid: dict[str, _Hybrid] = {}
    planted: dict[str, dict[str, _Planted]] = {}
