"""One sentence for each event of a run, and what helps where something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedpatchcore.data.amounts import images_told, seen_told, work_told
from fedpatchcore.runs.events import decided
from fedpatchcore.runs.tidy import tidy
from fedpatchcore.texts import counted

__all__ = ["hint", "listed", "outlook", "tell"]

Event = Mapping[str, Any]
LISTED = 12  # names in one line

# What helps, by words in the reason.
HINTS = (
    ("SuperNode is offline", "start its flower-supernode again; it joins the next round"),
    (
        "ClientApp process died",
        "give the site more memory, or lower batch-size or coreset-size; its SuperNode's log says "
        "how the process ended",
    ),
    (
        "no reply within round-timeout",
        "see whether the site still works; raise round-timeout if it only needs longer",
    ),
    ("no answer to the roll call", "see the log of its SuperNode; it is asked again next round"),
    ("ClientApp raised an error", "the log of its SuperNode holds the full trace"),
)


def hint(reason: str) -> str:
    """What helps against a loss or refusal; empty where the reason says it itself."""
    return next((fix for words, fix in HINTS if words in reason), "")


def tell(event: Event) -> str:
    """An event, whatever it holds, as one line for people; an unknown kind with its plain facts."""
    event = tidy(event)
    words = WORDS.get(str(event.get("event")))
    try:
        return words(event) if words else _plain(event)
    except (AttributeError, KeyError, TypeError):  # facts of another version, or of no kind
        return _plain(event)


def _plain(event: Event) -> str:
    facts = [
        f"{key} {value}"
        for key, value in event.items()
        if key not in ("time", "event") and isinstance(value, str | int | float)
    ]
    return f"{event.get('event')}: {', '.join(facts)}" if facts else str(event.get("event"))


def listed(names: Sequence[str]) -> str:
    """Names one after the other; of many the first."""
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _started(event: Event) -> str:
    done = event.get("resumed_after")
    return f"started, going on after round {done}" if done else "started"


def _waiting(event: Event) -> str:
    return (
        f"waiting for sites: {event['online']} of {event['wanted']} online; "
        "start the missing flower-supernode processes"
    )


def _site(event: Event) -> str:
    made = listed(event["products"])
    # withheld by a private run
    images = counted(event["images"], "image") + " of " if event["images"] else ""
    note = f" ({event['note']})" if event.get("note") else ""
    work = outlook(event)
    work = f"; {work}" if work else ""
    return f"{event['site']}: here, {images}{made} on {event['device']}{note}{work}"


def outlook(event: Event) -> str:
    """What a site says beforehand of its work and of what is seen of its pictures; "" of neither.

    Args:
        event: of a site that answered the roll call.
    """
    seconds, shown = event.get("image_seconds") or 0, seen_told(event.get("shown") or 0)
    features = event.get("features") or 0
    most = {"most": event.get("held") or 0}
    work = work_told(event.get("images") or 0, seconds, features, **most) if seconds else ""
    return "; ".join(filter(None, (work, shown)))


def _round(event: Event) -> str:
    sites = event["sites"]
    wanted = event.get("wanted") or 0
    missing = f", {wanted - len(sites)} expected sites missing" if wanted > len(sites) else ""
    asked = sites if event.get("chosen") is None else event["chosen"]
    some = f" of {len(sites)}" if len(asked) < len(sites) else ""
    return f"round {event['number']} of {event['of']}: asked {len(asked)}{some} sites{missing}"


def _later(event: Event) -> str:
    return f"{event['site']}: {event['reason']}"


def _closed(event: Event) -> str:
    return f"round {event['round']} goes on without waiting for {listed(event['late'])}"


def _trained(event: Event) -> str:
    late = event.get("late_from")
    return _sent(event) + (f" (late, of round {late})" if late else "")


def _sent(event: Event) -> str:
    if event["kind"] == "none":
        return f"{event['site']}: nothing new"
    if event.get("epsilon") is not None:
        what = "noisy sums" if event["kind"] == "sums" else f"{event['rows']:,} noised rows"
        return (
            f"{event['site']}: sent {what}, {_megabytes(event)}, "
            f"ε spent {event['epsilon']:.4g} (counts withheld)"
        )
    seconds = event["extract_seconds"] + event["select_seconds"]
    return (
        f"{event['site']}: sent {event['rows']:,} rows of {event['patches']:,} patches of "
        f"{_images(event)}, {_megabytes(event)}, {seconds:.1f} s"
    )


def _images(event: Event) -> str:
    """All that the site has; of a later round, which looks at the new ones alone, these too."""
    taught = event.get("represented") or event["images"]
    told = images_told(taught, event.get("held_out") or 0, event.get("bad") or 0)
    return told if event["images"] in (0, taught) else f"{told}, {event['images']:,} of them new"


def _megabytes(event: Event) -> str:
    """Bytes on the wire, and beside them what the features would be as they are."""
    plain, wire = event["bytes"] / 1e6, event.get("wire_bytes", event["bytes"]) / 1e6
    return f"{plain:.2f} MB" if plain == wire else f"{wire:.2f} MB ({plain:.2f} MB as features)"


def _resent(event: Event) -> str:
    size = event["bytes"] / 1e6
    return f"{event['site']}: does not hold the last bank, is sent all of it, {size:.2f} MB"


def _summed(event: Event) -> str:
    about = event.get("about") or "sums"
    what = "secure sum" if about == "sums" else f"secure sum of {about}"
    if event["closed"]:
        return f"the {what} STAYS CLOSED: {event['closed']}"
    dropped = len(event["asked"]) - len(event["masked"])
    told = [f"{name} {_auroc(one)}" for name, one in (event.get("image_auroc") or {}).items()]
    parts = [
        f"{what} of {len(event['masked'])} sites opened by {len(event['opened'])}, "
        f"{event['openers']} must" + (f", {dropped} dropped" if dropped else ""),
        str(decided(event) or ""),
        f"mean image AUROC {listed(told)}" if told else "",
    ]
    return "; ".join(filter(None, parts))


def _merged(event: Event) -> str:
    size = event["bytes"] / 1e6
    return f"bank of round {event['round']}: {event['rows']:,} rows, {size:.2f} MB"


def _evaluated(event: Event) -> str:
    alone = event.get("local_image_auroc") or {}
    told = [
        f"{product} {_auroc(value)}"
        + (f" (alone {_auroc(alone[product])})" if alone.get(product) is not None else "")
        for product, value in event["image_auroc"].items()
    ]
    parts = [str(decided(event) or ""), f"image AUROC {listed(told) or '–'}"]
    return f"{event['site']}: {'; '.join(filter(None, parts))}"


def _without(event: Event) -> str:
    reason = str(event["reason"])
    fix = hint(reason)
    return f"{event['site']}: {str(event['event']).upper()}: {reason}" + (f": {fix}" if fix else "")


def _gone(event: Event) -> str:
    return f"{event['site']}: GONE, waiting for it to come back: {event['reason']}"


def _back(event: Event) -> str:
    return f"{event['site']}: back, and asked again"


def _checkpoint(event: Event) -> str:
    return f"round {event['round']} complete and saved"


def _finished(event: Event) -> str:
    return f"finished after {event['seconds']:.0f} s"


def _failed(event: Event) -> str:
    return f"FAILED: {event['reason']}"


def _auroc(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}"


WORDS: dict[str, Callable[[Event], str]] = {
    "started": _started,
    "waiting": _waiting,
    "site": _site,
    "round": _round,
    "later": _later,
    "closed": _closed,
    "trained": _trained,
    "summed": _summed,
    "merged": _merged,
    "evaluated": _evaluated,
    "rejected": _without,
    "lost": _without,
    "gone": _gone,
    "back": _back,
    "resent": _resent,
    "checkpoint": _checkpoint,
    "finished": _finished,
    "failed": _failed,
}
