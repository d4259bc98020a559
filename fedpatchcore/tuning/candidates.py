"""Which settings are tried: backbones whose weights are here, geometries, sizes, then the finer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError, WeightsError
from fedpatchcore.features.backbones.registry import FAMILIES, family_of
from fedpatchcore.features.backbones.weights import find_weights
from fedpatchcore.settings import words_of

__all__ = [
    "AS_TOLD",
    "Candidate",
    "coarse",
    "finer",
    "known_backbones",
    "named_candidates",
    "present_backbones",
]

AS_TOLD = "as told"
KNOWN = ("efficientnet_lite0", "squeezenet1_1", "resnet18", "resnet50", "wide_resnet50_2")
SCORES = ("max", "1%", "3%")  # of a picture
LARGEST = 1024  # pixels a side that are tried unasked


@dataclass(frozen=True)
class Candidate:
    """A few ordinary settings in place of those told; none: as told.

    Attributes:
        changes: by kebab-case key.
    """

    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``backbone=filterbank image-size=448``."""
        told = (f"{key}={_plain(value)}" for key, value in sorted(self.changes.items()))
        return " ".join(told) or AS_TOLD

    def settings(self, base: RunConfig) -> RunConfig:
        """The settings told with these in their place. Raises ConfigError."""
        return RunConfig.parse({**base.table(), **self.changes}, where=f"candidate {self.name}")


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def present_backbones(base: RunConfig) -> tuple[list[str], list[str]]:
    """Backbones that can be tried here, the one told first, and those known without weights."""
    present, absent = [base.backbone], []
    own = [one.name for one in FAMILIES if one.name and not one.needs_weights]
    for name in (*own, *KNOWN):
        if name in present:
            continue
        if family_of(name).needs_weights:
            try:
                find_weights(name)
            except WeightsError:
                absent.append(name)
                continue
        present.append(name)
    return present, absent


def known_backbones(base: RunConfig) -> list[str]:
    """Backbones that sites may have weights of, the one told first."""
    own = [one.name for one in FAMILIES if one.name and not one.needs_weights]
    return list(dict.fromkeys((base.backbone, *own, *KNOWN)))


def coarse(base: RunConfig, backbones: Sequence[str], *, square: bool = False) -> list[Candidate]:
    """The settings told first, then every backbone, geometry and size: what matters most.

    Args:
        square: all pictures are square, and ``whole`` and ``full`` are the same.
    """
    # tiles are for pictures of which the others lose too much, and planted into one by one
    left_out = {"tiles"}
    if square:
        left_out.add("whole" if base.geometry == "full" else "full")
    words = [w for w in words_of(RunConfig.model_fields["geometry"]) if w not in left_out]
    sizes = [base.image_size]
    if 2 * base.image_size <= LARGEST:
        sizes.append(2 * base.image_size)
    found = [Candidate()]
    for backbone in backbones:
        own: dict[str, Any] = {}
        if backbone != base.backbone:  # what was told of the other one is not meant for it
            own = {"backbone": backbone, "layers": "", "weights": ""}
        for geometry in words:
            for size in sizes:
                _add(found, base, own | {"geometry": geometry, "image-size": size})
    return found


def finer(base: RunConfig, best: Candidate) -> list[Candidate]:
    """Settings that cost little to try beside a good candidate: memory, neighbours, scores.

    No layers: an early one alone tells planted marks best and real defects worse
    (``benchmarks/README.md``, section 23). A person may name them.
    """
    found = [best]
    told = best.settings(base).table()
    for changes in _variants(told):
        _add(found, base, {**best.changes, **changes})
    return found[1:]


def _variants(told: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if told["coreset-size"]:
        yield {"coreset-size": 4 * told["coreset-size"]}
    else:
        yield {"coreset-ratio": min(1.0, 4 * told["coreset-ratio"])}
    yield {"neighbours": 3 if told["neighbours"] == 1 else 1}
    for score in SCORES if not told["reweight"] else ():
        yield {"image-score": score}


def named_candidates(table: Mapping[str, Any], base: RunConfig) -> list[Candidate]:
    """Candidates that a person names, a table of settings each, behind the settings told.

    Raises:
        ConfigError: something that is no table of settings.
    """
    found = [Candidate()]
    for name, changes in table.items():
        if not isinstance(changes, Mapping) or not changes:
            raise ConfigError(f"candidate '{name}' is no table of settings: write [{name}] above")
        Candidate(dict(changes)).settings(base)
        _add(found, base, dict(changes))
    return found


def _add(found: list[Candidate], base: RunConfig, changes: dict[str, Any]) -> None:
    """Another candidate, without what is told anyway, if it is none of those found."""
    told = base.table()
    new = Candidate({key: value for key, value in changes.items() if told.get(key) != value})
    if new not in found:
        found.append(new)
