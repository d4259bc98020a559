"""The story of one round: what ``metrics.json`` keeps of it and what the log says meanwhile."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fedpatchcore.metrics.comparison import shown
from fedpatchcore.metrics.planted_found import PlantedFound
from fedpatchcore.metrics.promises import Promise
from fedpatchcore.metrics.totals import Totals
from fedpatchcore.metrics.verdicts import verdict
from fedpatchcore.planted.cells import CELLS
from fedpatchcore.server.acceptance import evaluate_record, train_line, train_record
from fedpatchcore.server.judge import Judgement
from fedpatchcore.texts import one_line, together
from fedpatchcore.wire.messages import EvaluateReply, TrainReply

__all__ = ["Say", "Story", "room_for_notes"]

Say = Callable[[str], None]
NOTES_OF_A_SITE = 100  # of one message that are kept and logged; it may hold one a product
ADDS_UP = ("bytes", "wire_bytes", "extract_seconds", "select_seconds")
NOTES_OF_A_RUN = 20_000  # of all sites over all rounds: 20 MB at most


def room_for_notes(history: Iterable[Mapping[str, Any]]) -> int:
    """Notes of sites that a run may still keep after these rounds."""
    told = (one for record in history for one in (record.get("evaluate") or {}).values())
    return NOTES_OF_A_RUN - sum(len(one.get("notes") or ()) for one in told)


class Story:
    """One round as it goes, told by ``say`` and gathered in ``record``, a plain JSON object.

    Args:
        target_fpr: share of false alarms that was asked for.
        withheld: whether sites keep all that training images have a part in.
        summed: whether sites tell no figures of their own, which add up in a secure sum.
        room: notes of sites that the run may still keep.
    """

    def __init__(
        self,
        say: Say,
        *,
        target_fpr: float,
        withheld: bool = False,
        summed: bool = False,
        room: int = NOTES_OF_A_RUN,
    ) -> None:
        self.say = say
        self.room = room
        self.target_fpr = target_fpr
        self.withheld = withheld
        self.only_summed = summed
        self.record: dict[str, Any] = {
            "train": {},
            "rejected": {},
            "lost": {},
            "absent": [],
            "sections": {},
            "evaluate": {},
            "notes": [],
        }

    @property
    def present(self) -> set[str]:
        """Sites whose training replies were accepted."""
        return set(self.record["train"])

    @property
    def evaluated(self) -> Mapping[str, Any]:
        """What each site's evaluation said, by site."""
        return self.record["evaluate"]

    @property
    def elsewhere(self) -> set[str]:
        """Sites of which no reply was to come: passed over, not now, or still at an older round."""
        turns = self.record.get("selection") or {}
        waited = (turns.get("passed_over") or (), self.record.get("late") or ())
        return {*(site for some in waited for site in some), *self.record.get("not_now", ())}

    def turns(self, told: Mapping[str, Any]) -> None:
        """Who is asked in this round; nothing is kept of it where all are."""
        if told["passed_over"]:
            self.record["selection"] = dict(told)
            shown = ", ".join(f"{site} ({told['why'][site]})" for site in told["chosen"])
            self.say(f"chosen to train: {shown}; {len(told['passed_over'])} passed over")

    def closed_early(self, late: Iterable[str]) -> None:
        """The round goes on without waiting for these; what they send comes later."""
        self.record["late"] = sorted({*late, *self.record.get("late", ())})
        if self.record["late"]:
            self.say(f"LATE, not waited for: {', '.join(self.record['late'])}")

    def later(self, site: str, reason: str) -> None:
        """A site does not take part now, by its own word."""
        site, reason = one_line(site), one_line(reason)
        self.record.setdefault("not_now", {})[site] = reason
        self.say(f"{site}: {reason}")

    def trained(self, reply: TrainReply, seconds: float, *, late_from: int = 0) -> None:
        """A reply was accepted; of a site's further ones before a bank is made work adds up.

        ``late_from``: the round it answers, where that is over.
        """
        told, before = train_record(reply, seconds), self.record["train"].get(reply.site)
        if before is not None:
            told |= {key: told[key] + before[key] for key in ADDS_UP}
        told |= {"late_from": late_from} if late_from else {}
        self.record["train"][reply.site] = told
        self.say(train_line(reply) + (f" (late, of round {late_from})" if late_from else ""))

    def summed(self, told: Mapping[str, Any]) -> None:
        """A secure sum was opened, or stays closed."""
        about = told.get("about")
        self.record["figures_sum" if about == "figures" else "secure_sum"] = dict(told)
        what = "secure sum" if about == "sums" else f"secure sum of {about}"
        if told["closed"]:
            self.record["notes"].append(f"the {what} stays closed: {told['closed']}")
            self.say(f"the {what} STAYS CLOSED: {told['closed']}")
            return
        left = len(told["asked"]) - len(told["masked"])
        self.say(
            f"{what} of {len(told['masked'])} sites opened by {len(told['opened'])} "
            f"({told['openers']} must, {told['colluding']} may collude), {left} dropped"
        )

    def totals(self, found: Mapping[str, Totals], sites: Iterable[str]) -> None:
        """Figures of these sites together, by product; none where their sum stays closed."""
        told = {product: one.told() for product, one in found.items()}
        self.record["figures"] = {"sites": list(sites), "products": told}
        for product, one in found.items():
            self.say(f"all sites / {product}: {one}")

    def alone(self, names: Iterable[str], least: int, what: str, did: str) -> None:
        """What of these is not added up: it would be that of too few sites."""
        for name in names:
            note = (
                f"{what} of {name} stay at its sites: fewer than {least} {did} it "
                "(2 + colluding-sites), and their total would be as good as one site's own"
            )
            self.record["notes"].append(note)
            self.say(note)

    def reject(self, site: str, reason: str) -> None:
        """A reply could not be used; the round goes on without it. The first reason is kept."""
        site, reason = one_line(site), one_line(reason)
        self.record["rejected"].setdefault(site, reason)
        self.say(f"REJECTED {site}: {reason}")

    def lose(self, site: str, reason: str) -> None:
        """A site did not answer."""
        site, reason = one_line(site), one_line(reason)
        self.record["lost"][site] = reason
        self.say(f"LOST {site}: {reason}")

    def missing(self, absent: Iterable[str], *, kept: bool) -> None:
        """Sites of earlier rounds are not in this one; their rows stay in the bank or go."""
        self.record["absent"] = list(absent)
        if names := ", ".join(self.record["absent"]):
            told = "absent, last contribution kept" if kept else "dropped from the bank"
            self.say(f"{told}{'' if kept else ' (keep-absent-sites=false)'}: {names}")

    def merged(self, name: str, facts: Mapping[str, Any], line: str) -> None:
        """A section of the bank was made."""
        self.record["sections"][name] = facts
        self.say(line)

    def left_out(self, name: str, error: Exception) -> None:
        """A section could not be made."""
        reason = one_line(error)
        self.record["notes"].append(f"section '{name}' left out: {reason}")
        self.say(f"section '{name}' LEFT OUT: {reason}")

    def outliers(self, found: Judgement) -> None:
        """How the sites compare, and whom the bank of this round leaves out."""
        self.record["site_scores"] = found.scores
        self.record["outliers"] = found.reasons
        self.record["excluded"] = sorted(found.excluded)
        self.record["notes"] += found.notes
        for note in found.notes:
            self.say(note)
        for site, reason in found.reasons.items():
            self.say(f"{'EXCLUDED' if site in found.excluded else 'WARNING'} {site}: {reason}")

    def quorum(self, least: int) -> str:
        """Who answered, why others could not be used, and how many there must be."""
        reasons = self.record["rejected"] | self.record["lost"]
        told = "; ".join(together(reasons)) or "nobody else answered"
        names = ", ".join(sorted(self.present)) or "none"
        return f"{len(self.present)} usable site(s) ({names}), min-sites is {least} ({told})"

    def no_quorum(self, text: str) -> None:
        """Too few sites; the bank stays as it was."""
        self.record["notes"].append(f"no quorum, the bank stays as it was: {text}")
        self.say(f"NO QUORUM, the bank stays as it was: {text}")

    def judged(
        self, reply: EvaluateReply, sites: tuple[str, ...], *, unkept: tuple[str, ...] = ()
    ) -> None:
        """A site's evaluation was accepted; ``unkept``: products whose threshold is not."""
        notes = self._kept(reply.notes)
        if unkept:
            shown = ", ".join(unkept[:5]) + (" and more" if len(unkept) > 5 else "")
            notes.append(
                f"its threshold of {shown} is in no bank: nothing of this site was accepted for it"
            )
        if self.only_summed:
            judged = [result.product for result in reply.results]
            blank = {"seconds": None, "memory": {}, "products": {}}
            self.record["evaluate"][reply.site] = {**blank, "judged": judged, "notes": notes}
            for note in notes:
                self.say(f"{reply.site}: {note}")
            return
        told = evaluate_record(reply, sites, notes, withheld=self.withheld)
        if unkept:
            told["unkept"] = list(unkept)
        self.record["evaluate"][reply.site] = told
        for note in notes:
            self.say(f"{reply.site}: {note}")
        for r in reply.results:
            told = asdict(r)
            self.say(f"{reply.site} / {r.product}: {self._figures(told)}")
            promise = None if self.withheld else Promise.of_result(told)
            for line in promise.shortcomings(self.target_fpr) if promise else ():
                self.say(f"{reply.site} / {r.product}: {line}")

    def _kept(self, notes: Sequence[str]) -> list[str]:
        """A site's notes as far as there is room for them; the last one counts the others."""
        most = max(0, min(NOTES_OF_A_SITE, self.room))
        kept = [one_line(note) for note in notes[:most]]
        self.room -= len(kept)
        if more := len(notes) - len(kept):
            kept.append(f"and {more:,} notes more, which are not kept")
        return kept

    def _figures(self, result: Mapping[str, Any]) -> str:
        """Verdicts, threshold and AUROC in words, also where there are none."""
        auroc = f"AUROC {shown(result['image_auroc'])}"
        if self.withheld:
            return f"verdicts, threshold and figures of the site's own bank withheld; {auroc}"
        if not math.isnan(alone := result["local_image_auroc"]):
            auroc += f" (alone {alone:.3f})"
        decided, promise = verdict(result), Promise.of_result(result)
        if decided is None or promise is None:
            return f"no threshold: no normal images to set it by; {auroc}"
        return (
            f"{str(decided) or 'no test images'}; "
            f"threshold {result['threshold']:.4g} from {promise.basis} "
            f"promises {promise} false alarms; {auroc}{_planted(result)}"
        )


def _planted(result: Mapping[str, Any]) -> str:
    found = PlantedFound.of_result(result, CELLS)
    return f"; planted defects found {found.found}" if found else ""
