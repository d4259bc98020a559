"""What the ClientApp does: one process a message, all work done by `fedpatchcore.site`."""

from __future__ import annotations

from collections.abc import Callable
from logging import ERROR, INFO
from pathlib import Path

from flwr.app import Context, Message
from flwr.common.logger import FLOWER_LOGGER, log

from client_app.records import from_records, to_records
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.errors import ConfigError, FedPatchCoreError
from fedpatchcore.observe.logs import use_json
from fedpatchcore.observe.message import Handling, handling
from fedpatchcore.pictures.cases import save_cases
from fedpatchcore.pictures.suspects import save_suspects
from fedpatchcore.site.evaluation import evaluate_site
from fedpatchcore.site.odd import odd_images
from fedpatchcore.site.own_bank import keep_own_bank
from fedpatchcore.site.rehearsal import rehearse_attack
from fedpatchcore.site.setup import open_site, use_threads
from fedpatchcore.site.site import Site
from fedpatchcore.site.withholding import discreet, keep_private, withheld
from fedpatchcore.spelling import after_c, spelled
from fedpatchcore.wire.codebooks import unpack_codebooks
from fedpatchcore.wire.held import HeldBank
from fedpatchcore.wire.messages import EvaluateReply, TrainReply
from fedpatchcore.wire.packet import Packet, pack_failure
from fedpatchcore.wire.packing import pack

__all__ = ["ANSWERS", "evaluate", "query", "train"]


def query(message: Message, context: Context) -> Message:
    """Site facts: products, image counts, device, fingerprint."""
    return _answer(message, context, lambda site, packet: site.facts())


def train(message: Message, context: Context) -> Message:
    """Extract, select, ship what the bank lacks."""
    return _answer(message, context, lambda site, packet: _train(site, packet, context))


def _train(site: Site, packet: Packet, context: Context) -> TrainReply:
    codebooks = unpack_codebooks(packet)
    run = str(packet.texts.get("run", ""))
    bank = _held(site).receive(packet)
    reply = site.train(bank, codebooks=codebooks, run=run)
    if site.config.attack:
        node = NodeConfig.from_node(context.node_config)
        reply = rehearse_attack(site, reply, node.num_partitions)
    return reply


def evaluate(message: Message, context: Context) -> Message:
    """Score this site's images with the global bank; pictures stay here."""
    return _answer(message, context, _evaluate)


def _evaluate(site: Site, packet: Packet) -> EvaluateReply:
    bank = _held(site).receive(packet)
    reply, scored = evaluate_site(site, bank, run=str(packet.texts.get("run", "")))
    folder = _results_folder(site, str(packet.texts.get("run-folder", "")))
    keep_own_bank(site, bank, reply, folder.parent)
    if site.config.dp != "off":
        keep_private(site, reply, folder)
        reply = withheld(reply, site.config)
    if site.config.heatmaps:
        try:
            _save_pictures(site, reply, scored, folder)
        except OSError as error:
            log(ERROR, "%s: heatmaps not written to %s: %s", site.name, folder, error.strerror)
    return reply


def _held(site: Site) -> HeldBank:
    return HeldBank(site.cache, site.name, keep=site.config.deltas, shared=site.simulated)


def _results_folder(site: Site, run_folder: str) -> Path:
    """A virtual site shares the server's disk; a real one keeps its pictures to itself."""
    if Path(run_folder).name in ("", ".", ".."):
        raise ConfigError(f"the server names a folder of results that is none: '{run_folder}'")
    if site.simulated:
        return Path(run_folder) / "sites" / site.name / "heatmaps"
    return site.out / Path(run_folder).name / "heatmaps"


def _save_pictures(site: Site, reply: EvaluateReply, scored: dict, folder: Path) -> None:
    for result in reply.results:
        if result.product in scored:
            save_cases(
                folder,
                site.name,
                result.product,
                scored[result.product],
                threshold=result.threshold,
                geometry=site.backbone.geometry,
                count=site.config.heatmaps,
                read=site.backbone.open,
            )
    log(INFO, "[%s] heatmaps in %s", site.name, folder)
    for result in reply.results:
        if result.product in site.normals:
            _save_odd(site, result.product, folder.parent / "odd")


def _save_odd(site: Site, product: str, folder: Path) -> None:
    """Training images that the rest explains least: for the eyes of this site alone."""
    images, scores, suspects = odd_images(site, product)
    save_suspects(
        folder,
        product,
        images,
        scores,
        suspects,
        threshold=site.normals[product].threshold("global", site.config.target_fpr).value,
        geometry=site.backbone.geometry,
        read=site.backbone.open,
    )


def _answer(message: Message, context: Context, work: Callable[[Site, Packet], object]) -> Message:
    """Run ``work``; whatever goes wrong becomes a reply that says so, with the site's name."""
    use_json(FLOWER_LOGGER)
    number = _carried(message, "texts", "round")
    with (
        handling(
            message.metadata.message_type,
            site=str(context.node_config.get("site", "")) or f"node {context.node_id}",
            run=str(context.run_id),
            number=number if isinstance(number, int) else 0,
            traceparent=str(_carried(message, "trace", "traceparent")),
        ) as told,
        spelled(after_c),
    ):
        packet = _packet(message, context, work, told)
    return Message(content=to_records(packet), reply_to=message)


def _packet(
    message: Message, context: Context, work: Callable[[Site, Packet], object], told: Handling
) -> Packet:
    config = RunConfig()
    try:
        node = NodeConfig.from_node(context.node_config)
        config = RunConfig.parse(context.run_config, where="run-config")
        use_threads(config.threads)
        folder = _carried(message, "texts", "run-folder")
        site = open_site(
            config,
            node,
            run_folder=Path(str(folder)) if folder else None,
            say=lambda line: log(INFO, "[%s] %s", told.site, line),
        )
        told.named(site.name)
        reply = work(site, from_records(message.content))
        packet = pack(reply, wire=config.wire, seed=config.seed)
        if holds := _held(site).digest:
            packet.texts["holds"] = holds
        told.answered(reply)
    except Exception as error:
        log(ERROR, "[%s] %s", told.site, error, exc_info=not isinstance(error, FedPatchCoreError))
        told.failed(error)
        packet = pack_failure(told.site, error if config.dp == "off" else discreet(error))
    return packet


def _carried(message: Message, record: str, key: str) -> object:
    """A value beside the packet's own; "" if the message does not carry it."""
    return (message.content.get(record) or {}).get(key, "")


ANSWERS = {"query": query, "train": train, "evaluate": evaluate}
