"""Settings of a run that chooses settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from fedpatchcore.settings import Settings, setting

if TYPE_CHECKING:
    from fedpatchcore.config import RunConfig

__all__ = ["TuneSettings", "tune_clash"]


class TuneSettings(Settings):
    """A run that makes no bank: sites try candidates on their own images, figures alone leave."""

    title: ClassVar[str] = "Choosing settings"

    tune: Literal["", "worst", "median"] = setting(
        "",
        "worst, median: the run makes no bank; each site tries candidates on its own images, and "
        "the one whose planted AUROC is best at the worst site, or at the median one, is written "
        "as tuned.toml; empty: an ordinary run",
    )
    tune_images: int = setting(
        48, "training images a product that a site tries candidates on at most", ge=8, le=10_000
    )
    tune_minutes: float = setting(
        20.0, "that a site gives to each of the (at most four) steps; the rest is left out", gt=0
    )


def tune_clash(config: RunConfig) -> str:
    """What a run that chooses settings cannot go with, by name; "" if nothing is amiss."""
    for key, used, why in (
        ("dp", config.dp != "off", "its figures are of training images, which no ledger covers"),
        ("attack", bool(config.attack), "attacks are rehearsed on coresets"),
        ("resume", bool(config.resume), "what was tried stands in the sites' caches"),
    ):
        if config.tune and used:
            return f"tune='{config.tune}' takes no {key}: {why}"
    return ""
