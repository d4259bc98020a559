"""Settings of the federation's rounds and of where a run's results go."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import model_validator

from fedpatchcore.settings import Settings, setting

__all__ = ["FederationSettings", "ResultSettings"]

LONGEST_NAME = 200  # characters; file systems end at 255 bytes


class FederationSettings(Settings):
    """Rounds, and how long sites are waited for."""

    title: ClassVar[str] = "The federation"

    num_rounds: int = setting(1, "rounds of train and evaluate", ge=1)
    min_sites: int = setting(2, "usable sites a round needs", ge=1)
    expected_sites: int = setting(
        0, "wait for so many before the first round; 0: for min-sites", ge=0
    )
    wait_seconds: float = setting(120.0, "but no longer than this", ge=0)
    round_timeout: float = setting(
        3600.0, "seconds until a site counts as lost in this round", gt=0
    )
    rejoin_seconds: float = setting(
        90.0, "wait so long for a site that died in a round, then ask it again", ge=0
    )
    keep_absent_sites: bool = setting(True, "a site that misses a round keeps its rows in the bank")

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.expected_sites and self.expected_sites < self.min_sites:
            raise ValueError(
                f"expected-sites ({self.expected_sites}) is below min-sites ({self.min_sites})"
            )
        return self


class ResultSettings(Settings):
    """What a run leaves, and where."""

    title: ClassVar[str] = "Results"

    out_dir: str = setting("runs", "folder of all runs' folders")
    run_name: str = setting("", "folder of this run, a plain name; empty: time and run id")
    resume: str = setting("", "a run folder to go on from")
    compare_pooled: bool = setting(
        False, "simulation only: also one bank from all images, for comparison"
    )

    @model_validator(mode="after")
    def _plain_name(self) -> Self:
        name = self.run_name
        bad = name in (".", "..") or any(c in name for c in "/\\") or name != name.strip()
        if bad or len(name) > LONGEST_NAME:
            raise ValueError(
                f"run-name: a plain name of up to {LONGEST_NAME} characters, no path "
                f"(out-dir says where), got {name[:LONGEST_NAME]!r}"
            )
        return self
