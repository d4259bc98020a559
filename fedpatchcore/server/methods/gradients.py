"""The models of a run at the server: one a section, moved by the optimiser's rule each round."""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError, CoresetError, RunError, TrainingError
from fedpatchcore.files import read_arrays, to_bytes, write_atomically
from fedpatchcore.learned.answers import Update, check_update
from fedpatchcore.learned.carried import Losses, is_carried, read_carried
from fedpatchcore.learned.objective import Arrays
from fedpatchcore.learned.patience import Patience
from fedpatchcore.learned.rules import Remembered, Rule, Scaffold
from fedpatchcore.sealed import read_sealed, sealed
from fedpatchcore.site.methods.gradients import ACCEPTED, CONTROL

__all__ = ["MakeRule", "Models", "Training", "without_updates"]

RULE, LIKE = "rule/", "like/"  # of arrays in a state's file
MakeRule = Callable[..., Rule]  # (config, *, sites, tolerated, weighted)


@dataclass
class _Model:
    """A section's model while a round goes on."""

    rule: Rule
    updates: dict[str, tuple[Update, Losses]] = field(default_factory=dict)


class Models:
    """Checks the sites' updates, and makes the next model of each section of them.

    Args:
        make_rule: makes the optimiser's half at the server; Flower's strategies are not the
            library's to know.
    """

    def __init__(self, config: RunConfig, make_rule: MakeRule | None) -> None:
        self.config = config
        self._make_rule = make_rule
        self._models: dict[str, _Model] = {}
        self._saved: dict[str, Remembered] = {}
        self._accepted: dict[str, int] = {}
        self._like: dict[str, Arrays] = {}
        self._patience: dict[str, Patience] = {}
        self._done: set[str] = set()

    @property
    def enough(self) -> str:
        """Why no further round is worth it: no section's held-out loss falls any more."""
        if not self._done or self._done < set(self._models):
            return ""
        told = {n: f"best in round {self._patience[n].best_round}" for n in sorted(self._done)}
        best = ", ".join(f"{name} {when}" for name, when in told.items())
        return f"held-out loss has not fallen for early-stop={self.config.early_stop} ({best})"

    def taken(
        self, site: str, section: str, part: Part, x: Arrays, version: int, *, images: int
    ) -> None:
        """A site's update of a section, which started from x. Raises CoresetError."""
        plan = self.config.plan(version + 1, self.config.num_rounds)
        try:
            arrays = {name: one for name, one in part.read_beside().items() if is_carried(name)}
            update, losses = read_carried(arrays, site, self.config.update_wire, x)
            check_update(update, x, version, plan=plan, control=self.config.rule.control)
            if update.examples > images:
                raise TrainingError(
                    f"the update of site '{site}' claims {update.examples:,} images of {images:,}"
                )
        except TrainingError as error:
            raise CoresetError(f"section '{section}': {error}") from None
        self._model(section).updates[site] = update, losses
        self._like[section] = x

    def stepped(
        self, section: str, x: Arrays, version: int, present: Set[str]
    ) -> tuple[Arrays, dict[str, Any]]:
        """The next model of a section, and the facts that the round's record shows of it.

        Args:
            present: sites whose answers counted; what others sent in this round does not.
        """
        model = self._model(section)
        taken = {site: one for site, one in model.updates.items() if site in present}
        model.updates = {}
        if not taken:
            return x, {"updates": 0}
        try:
            found = model.rule.step(version + 1, x, [update for update, _ in taken.values()])
        except TrainingError as error:
            raise CoresetError(f"section '{section}' learns nothing: {error}") from None
        self._accepted |= dict.fromkeys(taken, version + 1)
        moved = sum(float(np.square(found[name] - x[name], dtype=float).sum()) for name in x)
        facts = {"updates": len(taken), "optimiser": self.config.optimiser, "moved": moved**0.5}
        facts |= {"steps": {site: update.steps for site, (update, _) in sorted(taken.items())}}
        for key in ("train", "held_out"):
            told = [getattr(losses, key) for _, losses in taken.values()]
            if known := [one for one in told if math.isfinite(one)]:
                facts[f"{key}_loss"] = sum(known) / len(known)
        if "held_out_loss" in facts:
            patience = self._patience.setdefault(section, Patience(self.config.early_stop))
            if patience.enough(version + 1, facts["held_out_loss"]):
                self._done.add(section)
        return found, facts

    def beside(self) -> dict[str, np.ndarray]:
        """What sites need beside the models: whose answer was taken last, and SCAFFOLD's c."""
        if not (self.config.rule.control or self.config.update_wire != "float32"):
            return {}
        found = {
            f"{ACCEPTED}{site}": np.array([number], np.float32)
            for site, number in sorted(self._accepted.items())
        }
        for section, model in sorted(self._models.items()):
            if isinstance(model.rule, Scaffold) and section in self._like:
                control = model.rule.control(self._like[section])
                found |= {f"{CONTROL}{section}/{name}": one for name, one in control.items()}
        return found

    def save(self, folder: Path) -> None:
        """Rules' states, and whose answer was taken last."""
        folder.mkdir(parents=True, exist_ok=True)
        told: dict[str, Any] = {"accepted": self._accepted, "sections": {}}
        for at, (section, model) in enumerate(sorted(self._models.items())):
            state = model.rule.state()
            told["sections"][section] = {"file": at, "facts": state.facts}
            if section in self._patience:
                told["sections"][section]["patience"] = self._patience[section].facts()
            arrays = {f"{RULE}{name}": one for name, one in state.arrays.items()}
            arrays |= {f"{LIKE}{name}": one for name, one in self._like.get(section, {}).items()}
            write_atomically(folder / f"{at:04d}.safetensors", to_bytes(arrays, {}))
        write_atomically(folder / "models.json", sealed(told))

    def load(self, folder: Path) -> None:
        """Go on from `save`. Raises RunError."""
        told = read_sealed(folder / "models.json", error=RunError)
        try:
            self._accepted = {str(k): int(v) for k, v in told["accepted"].items()}
            for section, one in told["sections"].items():
                path = folder / f"{int(one['file']):04d}.safetensors"
                _, arrays = read_arrays(path, kind="training state", error=RunError)
                self._like[section] = _named(arrays, LIKE)
                if "patience" in one:
                    self._patience[section] = Patience(self.config.early_stop)
                    self._patience[section].restore(one["patience"])
                self._model(section).rule.restore(Remembered(_named(arrays, RULE), one["facts"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError(f"cannot resume: {folder} holds no training state ({error})") from None

    def _model(self, section: str) -> _Model:
        if section not in self._models:
            if self._make_rule is None:
                raise ConfigError(
                    "methods that train need the optimisers' half at the server: make the "
                    "Federation with rules=server_app.optimisers.rule_of"
                )
            rule = self._make_rule(
                self.config,
                sites=self.config.min_sites,
                tolerated=self.config.tolerated_sites,
                weighted=self.config.weighted_by_samples,
            )
            self._models[section] = _Model(rule)
        return self._models[section]


class Training:
    """What the halves of methods that train share: their models speak of rounds and checkpoints.

    Args:
        models: None where no model leaves its site.
    """

    def __init__(self, models: Models | None) -> None:
        self._models = models

    @property
    def enough(self) -> str:
        """See `Models.enough`."""
        return self._models.enough if self._models else ""

    def beside(self) -> dict[str, np.ndarray]:
        """What the optimiser sends beside the models."""
        return self._models.beside() if self._models else {}

    def save(self, folder: Path) -> None:
        """The optimiser's state."""
        if self._models is not None:
            self._models.save(folder)

    def load(self, folder: Path) -> None:
        """Go on from `save`."""
        if self._models is not None:
            self._models.load(folder)


def without_updates(given: Contribution) -> Contribution | None:
    """A contribution without the updates beside its rows; None if nothing is left of it."""
    parts = {
        name: Part(
            part.features,
            part.images,
            part.patches,
            part.radius,
            {what: one for what, one in part.beside.items() if not is_carried(what)},
        )
        for name, part in given.parts.items()
    }
    left = {name: part for name, part in parts.items() if len(part.features)}
    return Contribution(given.site, given.fingerprint, left) if left else None


def _named(arrays: Arrays, kind: str) -> Arrays:
    return {k.removeprefix(kind): one for k, one in arrays.items() if k.startswith(kind)}
