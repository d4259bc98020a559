"""Settings of training by gradients, of generators, memories of averages and students."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from fedpatchcore.learned.plan import LocalPlan, Schedule, rate_in_round
from fedpatchcore.learned.registry import OPTIMISERS, UPDATE_WIRES, Optimiser, refusals
from fedpatchcore.settings import Settings, kebab, setting

__all__ = ["LearnedSettings", "MemorySettings"]

WITH_RATE = [one.name for one in OPTIMISERS.values() if one.server_rate is not None]
WITH_MU = [one.name for one in OPTIMISERS.values() if one.proximal != "no"]
SERVER_MOMENTUM = ("fedavgm", "fedadam", "fedyogi")


class LearnedSettings(Settings):
    """How sites train a model together."""

    title: ClassVar[str] = "Training by gradients (docs/methods.md)"

    optimiser: str = setting(
        "fedavg", "what sites do in local steps and the server makes of them", words=OPTIMISERS
    )
    local_epochs: int = setting(1, "passes over a site's examples a round", ge=1, le=1000)
    local_batch: int = setting(4, "examples (images) a local step", ge=1, le=2**20)
    learning_rate: float = setting(
        0.0, "of local steps, in the first round; 0: the method's own", ge=0, le=100
    )
    schedule: Schedule = setting(
        "constant",
        "of the learning rate over rounds; cosine: down to 0; step: a tenth after half and after "
        "three quarters",
    )
    momentum: float = setting(0.0, "of local steps; starts at 0 each round", ge=0, lt=1)
    mu: float = setting(
        0.0,
        f"weight of the term that holds local steps near the server's model: {', '.join(WITH_MU)}",
        ge=0,
        le=1e6,
    )
    server_learning_rate: float = setting(
        0.0, "of the server's step; 0: 1, and 0.01 of fedadam and fedyogi", ge=0, le=100
    )
    server_momentum: float = setting(
        0.9, f"share of the last step that stays: {', '.join(SERVER_MOMENTUM)}", ge=0, lt=1
    )
    client_fraction: float = setting(1.0, "share of the sites that train in a round", gt=0, le=1)
    early_stop: int = setting(
        0, "stop after so many rounds without a better held-out loss; 0: never", ge=0
    )
    update_wire: str = setting(
        "float32",
        "updates on the network; what an encoding leaves out is sent later",
        words=UPDATE_WIRES,
    )
    topk_share: float = setting(0.05, "topk: share of the model that is sent", gt=0, le=1)
    staleness: Literal["constant", "poly", "hinge"] = setting(
        "poly", "fedasync, fedbuff: how the weight of late updates falls"
    )
    staleness_limit: int = setting(
        10, "fedasync, fedbuff: models that an update may be behind", ge=0, le=1000
    )
    async_mix: float = setting(
        0.6, "fedasync: share of the model that an update in time replaces", gt=0, le=1
    )
    buffer: int = setting(3, "fedbuff: updates that make a step", ge=1, le=10000)
    concurrency: int = setting(
        0, "fedasync, fedbuff: sites that train at a time; 0: all", ge=0, le=10000
    )

    @property
    def customary_rate(self) -> float:
        """The learning rate where none is set."""
        return 0.01

    @property
    def sampling(self) -> float:
        """See `LocalPlan.sampling`."""
        return 0.0

    @property
    def rule(self) -> Optimiser:
        """What ``optimiser`` stands for."""
        return OPTIMISERS[self.optimiser]

    @property
    def server_rate(self) -> float:
        """The server's learning rate, the optimiser's customary one where none is set."""
        return self.server_learning_rate or self.rule.server_rate or 1.0

    def plan(self, round: int, rounds: int) -> LocalPlan:
        """A site's local steps in round 1 … rounds."""
        return LocalPlan(
            epochs=self.local_epochs,
            batch=self.local_batch,
            rate=rate_in_round(
                self.learning_rate or self.customary_rate, self.schedule, round, rounds
            ),
            momentum=self.momentum,
            mu=self.mu,
            sampling=self.sampling,
        )

    @model_validator(mode="after")
    def _composable(self) -> Self:
        one = self.rule
        found = refusals(one, momentum=self.momentum, update_wire=self.update_wire)
        if one.proximal == "must" and not self.mu:
            found.append(f"optimiser='{one.name}' needs mu above 0: with 0 it is fedavg")
        if one.proximal == "no" and self.mu:
            found.append(f"mu is of {', '.join(WITH_MU)}; optimiser='{one.name}' has none")
        if one.server_rate is None and self.server_learning_rate:
            found.append(
                f"server-learning-rate is of {', '.join(WITH_RATE)}; optimiser='{one.name}' has "
                "none (a mean with one is fedavgm with server-momentum=0)"
            )
        if one.asynchronous and self.client_fraction < 1:
            found.append(
                f"client-fraction draws the sites of a round, and optimiser='{one.name}' has no "
                "rounds: set client-fraction=1"
            )
        found += self._idle()
        if found:
            raise ValueError("; ".join(found))
        return self

    def _idle(self) -> list[str]:
        """What is set of optimisers that are not in force, where that is not the default."""
        owners = {
            "staleness": ("fedasync", "fedbuff"),
            "staleness_limit": ("fedasync", "fedbuff"),
            "concurrency": ("fedasync", "fedbuff"),
            "async_mix": ("fedasync",),
            "buffer": ("fedbuff",),
            "server_momentum": SERVER_MOMENTUM,
        }
        fields = LearnedSettings.model_fields
        return [
            f"{kebab(key)} is of {', '.join(names)}; optimiser='{self.optimiser}' does not look at "
            "it: leave it out"
            for key, names in owners.items()
            if self.optimiser not in names and getattr(self, key) != fields[key].default
        ]


class MemorySettings(Settings):
    """How a generator brings normal patches close to their memory, and what a student reads."""

    title: ClassVar[str] = "Generator, dynamic memory, student (docs/methods.md)"

    generator_width: int = setting(
        0, "features that the generator makes of a patch; 0: half as many as the backbone's", ge=0
    )
    generator_neighbours: int = setting(
        1, "memory rows that pull a patch, and as many that push it", ge=1, le=100
    )
    generator_push: float = setting(0.0, "weight of the rows that push; 0: none do", ge=0, le=100)
    generator_margin: float = setting(
        0.1, "how much farther than the radius the pushing rows are kept", ge=0, le=10
    )
    generator_radius: float = setting(
        0.1, "quantile of the distances at the start that makes the radius", gt=0, le=1
    )
    generators: Literal["averaged", "own"] = setting(
        "averaged", "feddymem: one generator for all, or each site's own, which never leaves it"
    )
    student_reads: int = setting(
        0,
        "student: channels of a patch that it reads, the first layer's; 0: a third, which is the "
        "first of two layers where channels double",
        ge=0,
    )
    student_width: int = setting(128, "student: channels between its layers", ge=1, le=4096)
    reduce_temperature: float = setting(
        0.1, "feddymem: how softly patches are shared out before they are averaged", ge=0, le=100
    )
