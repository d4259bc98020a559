"""A run that chooses settings, over Flower's messages: a question a step to every site."""

from __future__ import annotations

from collections.abc import Iterable
from logging import INFO
from pathlib import Path

from flwr.app import Message
from flwr.common.logger import log

from fedpatchcore.config import RunConfig
from fedpatchcore.errors import FedPatchCoreError, RunError
from fedpatchcore.observe.traces import RunTrace
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.server.tuning import TuneRounds
from fedpatchcore.wire.tuning import TuneQuestion, pack_tune_question, unpack_tune
from server_app.attendance import Attendance
from server_app.grid import StreamingGrid
from server_app.outbox import Outbox
from server_app.replies import is_gone, packet_of

__all__ = ["tune"]

KIND = "query.tune"


def tune(
    config: RunConfig, federation: Federation, run: RunFolder, grid: StreamingGrid, trace: RunTrace
) -> dict[str, Path]:
    """All steps; the paths of what was written into the run's folder.

    Raises:
        QuorumError: too few sites, or no candidate that all of them can try.
        RunError: the folder cannot be written.
    """
    from fedpatchcore.report.tune_page import write_tune

    outbox = Outbox(config, federation, run)
    nodes = Attendance(config, federation, run, outbox, trace)
    grid.tell = nodes.went_or_came
    rounds = TuneRounds(config, say=lambda line: log(INFO, "%s", line))
    while (question := rounds.question) is not None:
        online = nodes.wait(grid)
        nodes.round = rounds.number
        trace.begin_round(nodes.round)
        asked = nodes.roll_call(online, grid)
        sites = [nodes.name(node) for node in asked]
        run.event("step", number=rounds.number, sites=sites, images=question.images)
        count = len(question.candidates)
        log(INFO, "step %s: %s candidates on %s images", rounds.number, count, question.images)
        outbox.begin("tune", rounds.number)
        packet, ttl = pack_tune_question(question), config.round_timeout
        messages = [
            nodes.message(node, KIND, outbox.stamped(packet, nodes.name(node)), ttl=ttl)
            for node in asked
        ]
        _collect(rounds, question, grid.send_and_receive(messages, timeout=ttl), grid, nodes)
        rounds.close()
        trace.end_round()
    found = rounds.found()
    for line in found.words():
        log(INFO, "%s", line)
    return write_tune(run.path, found, config, sites=rounds.told())


def _collect(
    rounds: TuneRounds,
    question: TuneQuestion,
    replies: Iterable[Message],
    grid: StreamingGrid,
    nodes: Attendance,
) -> None:
    """Each answer to the step; who gives none that fits is left out by name."""
    for reply in replies:
        node = grid.node_of(reply)
        site = nodes.name(node)
        try:
            told = unpack_tune(packet_of(reply), question)
            nodes.same_site(told.site, site)
            rounds.take(told)
            facts = {"candidates": len({one.candidate for one in told.tried})}
            facts |= {"left_out": len(told.left_out), "seconds": told.seconds}
            nodes.trace.answered(node, site, facts)
            nodes.run.event("tried", round=nodes.round, site=site, **facts)
        except RunError:
            raise  # our own disk, not the site
        except FedPatchCoreError as error:
            nodes.without(node, str(error), gone=is_gone(reply))
        except Exception as error:
            nodes.unusable(node, error)
    for node in grid.unanswered:
        nodes.without(node, f"no reply within round-timeout ({nodes.config.round_timeout:g} s)")
