"""What a feature extractor is, exactly: two banks may meet only if these agree.

Distances between features of different networks, weights, layers or image geometry mean
nothing, and nothing in the numbers themselves would tell. So every coreset and every bank
carries this record, and both sides compare it field by field before they use one.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from fedpatchcore.errors import FingerprintError

__all__ = ["HALF_RECIPE", "RECIPE", "Fingerprint"]

RECIPE = 1
"""Raised whenever this library computes other features from the same settings and weights."""
HALF_RECIPE = 2
"""The same for precision="float16", whose maps are averaged in half precision since 2."""


class Fingerprint(BaseModel):
    """Identity of the features: architecture, layers, preprocessing, normalisation, weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str
    layers: tuple[str, ...]
    geometry: Literal["crop", "full"]
    image_size: int = Field(gt=0)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    neighbourhood: int = Field(gt=0)
    layer_norm: Literal["none", "unit"]
    precision: Literal["float32", "bfloat16", "float16"]
    dimension: int = Field(gt=0)
    weights_sha256: str
    recipe: int = RECIPE
    jpeg_draft: bool = False  # told only if true: what was made without it keeps its digest
    value_range: str = ""  # likewise; canonical
    engine: str = "torch"  # likewise; of halves alone, for in float32 engines give the same

    @model_serializer(mode="wrap")
    def _told(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told = serialise(self)
        if not self.jpeg_draft:
            del told["jpeg_draft"]
        if not self.value_range:
            del told["value_range"]
        if self.engine == "torch":
            del told["engine"]
        return told

    @property
    def digest(self) -> str:
        """sha256 of all fields, as hex; equal digests mean comparable features."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON (sorted keys, no spaces)."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Fingerprint:
        """Inverse of `to_json`. Raises FingerprintError if the text is not a fingerprint."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            raise FingerprintError(f"not a fingerprint: {text[:80]!r}") from None

    def differences(self, other: Fingerprint) -> list[str]:
        """Each differing field as ``field: ours ≠ theirs``."""
        short = {"weights_sha256": lambda v: v[:12], "value_range": lambda v: v or "none"}
        return [
            f"{key}: {short.get(key, str)(ours)} ≠ {short.get(key, str)(theirs)}"
            for key, ours in self
            if ours != (theirs := getattr(other, key))
        ]

    def require(self, other: Fingerprint, *, ours: str, theirs: str) -> None:
        """Raise FingerprintError naming both parties and each field that differs."""
        if found := self.differences(other):
            raise FingerprintError(
                f"features of {theirs} do not match {ours} ({'; '.join(found)}): "
                "use the same backbone settings and the same weights file at every site"
            )
