"""Settings of the federation's rounds and of where a run's results go."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from fedpatchcore.settings import Settings, setting

__all__ = ["FederationSettings", "ResultSettings", "TurnSettings"]

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


class TurnSettings(FederationSettings):
    """Which sites a round asks, and for how many of their answers it waits."""

    title: ClassVar[str] = "Whose turn it is (docs/turns.md)"

    selection: Literal["all", "random", "adaptive"] = setting(
        "all",
        "who trains in a round: all sites, some drawn at random, or those expected to add most for "
        "the time they take",
    )
    sites_per_round: int = setting(
        0, "so many train in a round, at least min-sites; 0: client-fraction of them", ge=0
    )
    longest_pause: int = setting(
        10, "adaptive: a site passed over in so many rounds running comes before all others", ge=1
    )
    judged_by: Literal["all", "chosen"] = setting(
        "all", "who is sent the bank to judge by it: all sites, or those that trained; at last all"
    )
    round_closes_at: float = setting(
        1.0,
        "share of the asked sites after whose answers a round goes on; later ones go into the next "
        "version",
        gt=0,
        le=1,
    )
    round_closes_after: float = setting(
        0.0, "or so many seconds after it began, with min-sites there; 0: no matter", ge=0
    )

    @model_validator(mode="after")
    def _told_how_many(self) -> Self:
        if self.sites_per_round and self.selection == "all":
            raise ValueError(
                f"sites-per-round={self.sites_per_round} takes selection='random' or 'adaptive'"
            )
        return self

    @property
    def closes_early(self) -> bool:
        """Whether a round may go on before all have answered."""
        return self.round_closes_at < 1 or self.round_closes_after > 0

    def check_turns(self: Any) -> None:
        """What does not go with these, of all settings of a run. Raises ValueError."""
        fraction = self.client_fraction
        if self.selection != "all" and not self.sites_per_round and fraction == 1:
            raise ValueError(
                f"selection='{self.selection}' chooses among the sites: say how many with "
                "sites-per-round (or client-fraction, of a method that trains)"
            )
        if self.sites_per_round and fraction < 1:
            raise ValueError(
                "sites-per-round and client-fraction both say how many train: set one of them"
            )
        if self.flows and self.selection != "all":
            raise ValueError(
                f"selection chooses the sites of a round, and optimiser='{self.optimiser}' has "
                "no rounds: set selection='all'"
            )
        if self.closes_early:
            self._check_early()

    def _check_early(self: Any) -> None:
        key = "round-closes-at" if self.round_closes_at < 1 else "round-closes-after"
        noisy = self.sums and self.num_rounds > 1
        for what, used, why in (
            ("secure-sums", self.secure_sums, "a sum opens as a whole or not at all"),
            (f"method='{self.method}'", self.kind.learned, "an update of an older model is stale"),
            (
                f"dp='{self.dp}' over several rounds",
                noisy,
                "a release over an older round's codebook would be charged and not used",
            ),
        ):
            if used:
                raise ValueError(f"{key} does not go with {what}: {why}")


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
