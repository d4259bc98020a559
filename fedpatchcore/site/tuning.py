"""A site tries candidates on its own images; figures alone leave."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import DataError, FedPatchCoreError, Halted
from fedpatchcore.site.site import Site
from fedpatchcore.tuning.candidates import Candidate
from fedpatchcore.tuning.plan import Plan, planned
from fedpatchcore.tuning.ranking import ranked
from fedpatchcore.tuning.trial import try_out
from fedpatchcore.wire.tuning import TriedOut, TuneQuestion, TuneReply

__all__ = ["tune_reply"]

OUT_OF_TIME = "no time was left for it (tune-minutes, and the site's own most-tune-minutes)"


Keep = Callable[[RunConfig], RunConfig]


def tune_reply(
    site: Site, question: TuneQuestion, *, run: str = "", keep: Keep = lambda config: config
) -> TuneReply:
    """Try each candidate, in their order, as long as the time lasts.

    A candidate that takes more memory than there is, whose weights are not here, or whose settings
    this site refuses is left out with a line. A ledger in use learns that figures of its images
    leave without noise.

    Args:
        keep: makes of a candidate's settings those that the site keeps to; raises to refuse.

    Raises:
        PrivacyError: the site's policy forbids such a run.
        DataError: no product has enough images of good parts.
    """
    site.policy.allow(site.config, site.name)
    site.note_unprotected(run)
    started = time.monotonic()
    plans = _plans(site, question.images)
    tried: list[TriedOut] = []
    left_out: dict[int, str] = {}
    for number, changes in enumerate(question.candidates):
        candidate = Candidate(dict(changes))
        if number and time.monotonic() - started > 60 * site.config.tune_minutes:
            left_out[number] = OUT_OF_TIME
            continue
        try:
            tried += _tried(site, candidate, number, plans, keep)
        except Halted:
            raise
        except (FedPatchCoreError, MemoryError) as error:
            left_out[number] = str(error) or "it takes more memory than there is"
            site.say(f"candidate {candidate.name} left out: {left_out[number]}")
    return TuneReply(site.name, tuple(tried), left_out, time.monotonic() - started)


def _plans(site: Site, images: int) -> list[Plan]:
    found, why = [], "there are no training images"
    for section, products in site.sections().items():
        site.training_images(section)  # which groups they are in is known then
        for product in products:
            groups = {path: site.group(path) for path in product.train}
            most, seed = site.config.tune_images, site.config.seed
            try:
                plan = planned(product.name, product.train, most=most, seed=seed, groups=groups)
            except DataError as error:
                why = str(error)
                site.say(why)
                continue
            found.append(plan.first(images))
    if not found:
        raise DataError(f"site '{site.name}' can try nothing: {why}")
    return found


def _tried(
    site: Site, candidate: Candidate, number: int, plans: Sequence[Plan], keep: Keep
) -> list[TriedOut]:
    """A line a product."""
    config = keep(candidate.settings(site.config))
    trial = try_out(config, plans, cache=site.cache)
    lines = []
    for product, scores in trial.products.items():
        (one,) = ranked({"": trial.of(product)}, "", seed=config.seed)
        lines.append(
            TriedOut(
                product,
                number,
                len(scores.good),
                len(scores.planted),
                one.auroc,
                min(one.low, one.auroc),
                max(one.high, one.auroc),
                trial.seconds,
                trial.memory,
            )
        )
    told = ", ".join(f"{line.product} {line.auroc:.3f}" for line in lines)
    site.say(f"candidate {candidate.name}: planted AUROC {told}, {trial.seconds:.3f} s an image")
    return lines
