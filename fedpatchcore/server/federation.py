"""The server's side of the federation, independent of what carries the messages.

Flower's Strategy, the in-process `federate` and the tests all drive this one object, so a
bank made over the network and a bank made by library calls come from the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fedpatchcore.bank.contribution import Contribution
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import SHARED
from fedpatchcore.bank.store import Contributions
from fedpatchcore.config import RunConfig
from fedpatchcore.errors import ConfigError, CoresetError, QuorumError
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.privacy.releases import LedgerNote, ledgers_told
from fedpatchcore.privacy.statement import statement
from fedpatchcore.server.acceptance import check_evaluation, check_more, check_reply, check_rows
from fedpatchcore.server.given import Given
from fedpatchcore.server.merged import merged_sections
from fedpatchcore.server.merging import by_section
from fedpatchcore.server.methods.registry import ServerMethod, server_method
from fedpatchcore.server.names import Names
from fedpatchcore.server.rollcall import call_roll
from fedpatchcore.server.story import Say, Story, room_for_notes
from fedpatchcore.server.thresholds import with_thresholds
from fedpatchcore.server.turns import choose
from fedpatchcore.timing.peaks import peak
from fedpatchcore.wire.messages import EvaluateReply, SiteFacts, TrainReply

if TYPE_CHECKING:
    from fedpatchcore.learned.rules import Rule
    from fedpatchcore.privacy.codebook import Codebook
    from fedpatchcore.server.private_rounds import PrivateRounds

__all__ = ["Federation"]


class Federation:
    """Contributions by site, the bank made from them, and the story of each round.

    A round is ``accept`` / ``reject`` for each site, `merge`, then ``evaluated`` for each site and
    `close`. An absent site keeps its last contribution unless ``keep-absent-sites`` is off.

    Args:
        codebook: the first codebook and its features' fingerprint, for noisy sums.
        contributions: where coresets are kept; in memory if nothing is said.
        rules: makes the rules of optimisers, for methods that train (``server_app.optimisers``).

    Attributes:
        ledgers: what each private site's ledger said last.
        bank: the current global bank, None before the first `merge`.
        method: the server's half of the run's method.
        names: which key speaks for which site.
        history: one plain record a round, what ``metrics.json`` shows.
        story: of the round that goes on.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        device: str = "cpu",
        say: Say = lambda _: None,
        codebook: tuple[Codebook, Fingerprint] | None = None,
        contributions: Contributions | None = None,
        rules: Callable[..., Rule] | None = None,
    ) -> None:
        if config.sums and codebook is None:
            raise ConfigError(f"dp='{config.dp}' needs a codebook (server.first_codebook)")
        self.config = config
        self.say = say
        self.method: ServerMethod = server_method(config, device=device, rules=rules)
        self.fingerprint: Fingerprint | None = codebook[1] if codebook else None
        self.private: PrivateRounds | None = None
        if codebook:
            from fedpatchcore.server.private_rounds import PrivateRounds

            self.private = PrivateRounds(config, codebook[0])
        self.ledgers: dict[str, LedgerNote] = {}
        self.contributions = Contributions() if contributions is None else contributions
        self.given = Given()
        self.represented: dict[str, dict[str, int]] = {}
        self.excluded: dict[str, dict[str, int]] = {}  # images that people took out
        self.bank: MemoryBank | None = None
        self.names = Names(strict=config.robust or config.robustness_enabled)
        self.history: list[dict[str, Any]] = []
        self.story = self._story()

    def _story(self) -> Story:
        kept = self.config.dp != "off" and not self.config.dp_share_metrics
        told, target = room_for_notes(self.history), self.config.target_fpr
        say, summed = (lambda line: self.say(line)), self.config.secure_figures
        return Story(say, target_fpr=target, withheld=kept, summed=summed, room=told)

    # -- roll call ------------------------------------------------------------------

    def roll_call(self, answers: Mapping[str, SiteFacts]) -> dict[str, str]:
        """Whom `call_roll` refuses: ``{node id: reason}``, of answers by node id."""
        most, f = self.config.max_products, self.config.withstood
        refused, self.fingerprint = call_roll(answers, self.fingerprint, most, tolerated=f)
        self.given.named(facts for node, facts in answers.items() if node not in refused)
        return refused

    def forget(self, site: str) -> None:
        """Drop what was given under a site's name: it was not the site's."""
        self.contributions.keep(set(self.contributions) - {site})
        self.represented.pop(site, None)

    def _match(self, fingerprint: Fingerprint, site: str) -> None:
        if self.fingerprint is None:
            self.fingerprint = fingerprint
        self.fingerprint.require(fingerprint, ours="the federation", theirs=f"site '{site}'")

    # -- train ----------------------------------------------------------------------

    def choose(self, names: Iterable[str], number: int) -> list[str]:
        """The sites that train in this round; others keep their rows and are charged nothing."""
        images = self.given.images(names)
        unseen = self.given.unseen(images, self.bank.sections) if self.bank else {}
        known = {"images": images, "unseen": unseen, "history": self.history}
        choice = choose(images, self.config, number, **known)
        self.story.turns(choice.told(images))
        return choice.chosen

    def accept(
        self,
        reply: TrainReply,
        *,
        seconds: float = 0.0,
        late_from: int = 0,
        covered: Iterable[str] | None = None,
    ) -> None:
        """Take a site's reply into the coming bank.

        Args:
            late_from: the round that it answers, where that is over.
            covered: sections of the bank that it was sent, where that is not the last one.

        Raises:
            FingerprintError, CoresetError: the reply cannot be used; nothing was changed.
            RunError: it could not be kept on disk; nothing was changed.
        """
        site = reply.site
        if site in self.story.present and not self.config.flows:
            raise CoresetError(f"a second reply from site '{site}' in one round")
        check_reply(reply, self.config)
        if covered is None:
            covered = self.bank.sections if self.bank else ()
        given = self._accept_sums(reply) if reply.kind == "sums" else reply.contribution
        if given is not None:
            self._match(given.fingerprint, site)
            check_rows(given, reply, self.config)
            given = given if reply.kind == "sums" else self.method.take(reply, self.bank)
        if given:
            if reply.kind == "delta":
                check_more(self.contributions.get(site), given, self.config)
                self.contributions.extend(given, covered)
            else:
                self.contributions.put(given)
        if reply.privacy is not None:
            self.ledgers[site] = reply.privacy
        self.given.took(reply, covered)
        self.represented.setdefault(site, {}).update(
            {s.section: s.represented for s in reply.stats}
        )
        self.excluded[site] = {s.section: s.excluded for s in reply.stats if s.excluded}
        self.story.trained(reply, seconds, late_from=late_from)

    def _accept_sums(self, reply: TrainReply) -> Contribution | None:
        """Noisy sums; as rows of the site if aggregation is to compare sites."""
        if self.private is None or reply.releases is None:
            raise CoresetError(f"site '{reply.site}' sent noisy sums that nobody asked for")
        self.private.accept(reply)
        if self.config.dp_combine == "sum":
            return None
        return self.private.bank_of_site(reply, self.fingerprint)

    def reject(self, site: str, reason: str) -> None:
        """Note a reply that could not be used; the round goes on without it."""
        self.story.reject(site, reason)

    def lose(self, site: str, reason: str) -> None:
        """Note a site that did not answer."""
        self.story.lose(site, reason)

    def later(self, site: str, reason: str) -> None:
        """Note a site that does not take part now, by its own word."""
        self.story.later(site, reason)

    def merge(self, number: int, *, quorum: bool = True) -> MemoryBank | None:
        """Make the bank of this round from every contribution held.

        Args:
            quorum: whether ``min-sites`` must have answered; not for what comes late.

        Returns:
            The new bank, or None if the quorum was missed and an older bank stays in force.

        Raises:
            QuorumError: fewer than ``min-sites`` usable replies and no bank yet.
            ConfigError: the merge takes more memory than ``server-memory-gb`` allows.
            RunError: a coreset can no longer be read from disk.
        """
        present, kept = self.story.present, self.story.present | self.story.elsewhere
        if not self.config.flows:  # else `Flow` sees to that
            if quorum and len(present) < self.config.min_sites:
                return self._no_quorum()
            absent = sorted(set(self.contributions) - kept) if quorum else []
            if absent and not self.config.keep_absent_sites:
                self.contributions.keep(kept)
            self.story.missing(absent, kept=self.config.keep_absent_sites)
        sites = tuple(self.contributions)
        with peak() as most:
            sections = merged_sections(self, sites, number)
        self.story.record["memory"] = {"merge": most.rss, "merge_cuda": most.cuda}
        if not sections:
            notes = "; ".join(self.story.record["notes"])
            raise QuorumError(f"no section could be aggregated: {notes}")
        self.bank = MemoryBank(
            self.fingerprint,
            sections,
            sites or tuple(sorted(present.union(() if quorum else self.bank.sites))),
            number,
            self.config.effective_aggregation,
            self.config.scoring,
            privacy=statement(self.config, self.ledgers),
            excluded=by_section(self.excluded, sections, sites),
        )
        return self.bank

    def _no_quorum(self) -> None:
        text = self.story.quorum(self.config.min_sites)
        if self.bank is None:
            raise QuorumError(text)
        self.story.no_quorum(text)

    # -- evaluate -------------------------------------------------------------------

    def evaluated(self, reply: EvaluateReply) -> None:
        """Take a site's metrics and thresholds.

        Raises:
            CoresetError: figures that no evaluation gives, of another bank, or of products that
                the site gave nothing of; nothing was changed.
        """
        if reply.site in self.story.evaluated:
            raise CoresetError(f"a second evaluation from site '{reply.site}' in one round")
        check_evaluation(reply, self.config, self.bank)
        sections, sites = (self.bank.sections, self.bank.sites) if self.bank else ((), ())
        self.story.judged(reply, sites, unkept=self.given.check(reply, shared=SHARED in sections))

    def close(self, number: int, *, open_sums: bool = False) -> dict[str, Any]:
        """End the round: thresholds go into the bank, the record into ``history``.

        ``open_sums``: a late release of this round's codebooks may come.
        """
        if self.bank is not None:
            self.bank = with_thresholds(self.bank, self.story.evaluated)
        record = {"round": number, **self.story.record}
        self.history.append(record)
        if self.private is not None and not open_sums:
            self.private.next_round()
        self.story = self._story()
        return record

    # -- resume ---------------------------------------------------------------------

    def restore(self, bank: MemoryBank, history: list[dict[str, Any]]) -> None:
        """Go on from a checkpoint, whose ``contributions`` are restored beside."""
        if bank.aggregation != self.config.effective_aggregation:
            raise ConfigError(
                f"cannot resume: the checkpoint was made with aggregation='{bank.aggregation}', "
                f"this run asks for '{self.config.effective_aggregation}'"
            )
        self.bank, self.fingerprint, self.history = bank, bank.fingerprint, list(history)
        self.ledgers = ledgers_told(history)
        self.given.restore(history)
        images = {name: section.images for name, section in bank.sections.items()}
        givers = sorted({site for own in images.values() for site in own})
        self.represented = by_section(images, givers, bank.sections)
        self.excluded = by_section(bank.excluded, bank.sites, bank.sections)
        self.story = self._story()
