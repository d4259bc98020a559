"""The facts of each event of a run: what ``events.jsonl``, the log and metrics tell.

| event | facts |
|---|---|
| started | run, resumed_after |
| waiting | online, wanted |
| site | site, products, images, device, version (of the library there), note ("" or a remark);
thought beforehand: image_seconds, features (bytes of all) and held (of these at a time); shown (the
least share that a crop shows of a product's pictures, 0: all is seen) |
| round | number, of, sites (that take part), chosen (those of them that train), online, wanted,
bytes (of the bank sent to each) |
| later | round, site, reason: it does not take part now, by its own word |
| trained | round, site, round_trip_seconds, down_bytes (sent to it), and what `trained` gives;
late_from: the round that a late answer belongs to; without rounds started_from (the bank it was
sent) and turn (updates taken before, and one) |
| closed | round, late (sites that were not waited for), of (sites that were asked) |
| summed | round, asked, masked, opened (sites of a secure sum), openers (how many must), colluding,
left (site: reason), bytes, seconds, closed (why it did not open, or ""), about (what was added up:
"sums", "figures", "updates"); of figures also defects_found, good_stopped, image_auroc of all |
| merged | round, rows, bytes, seconds |
| evaluated | round, site, round_trip_seconds, down_bytes (sent to it), and what `evaluated` gives |
| resent | round, site, bytes: a site had lost its bank and is sent all of it |
| rejected, lost | round, site, reason |
| gone, back | round, site, reason: a site went away in the middle of its work, and came back |
| checkpoint | round, seconds |
| tried | round (the step), site, candidates, left_out (their numbers), seconds |
| finished | seconds, rows (of the result table), bank, report; settings where a run chose some |
| failed | reason |

An event is one flat JSON object with ``time`` and ``event`` beside these; none holds a score
of a single image or a feature, and an image's name only where a site's reason for refusing does.
Whoever reads one takes it through `fedpatchcore.runs.tidy`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fedpatchcore.metrics.rates import Rate
from fedpatchcore.metrics.verdicts import Verdict, verdict
from fedpatchcore.runs.logstream import without_colours
from fedpatchcore.runs.tidy import tidy

if TYPE_CHECKING:  # whoever reads events need not load what computes
    from fedpatchcore.wire.messages import EvaluateReply, TrainReply

__all__ = ["Line", "decided", "evaluated", "from_line", "to_line", "trained"]

MARK = "event "
LEVEL = re.compile(rf"(?:[A-Z]+\s*:\s*)?{MARK}(?=\{{)")


def trained(reply: TrainReply) -> dict[str, Any]:
    """Counts, bytes and seconds of a site's train reply, summed over its sections."""
    keys = ("images", "represented", "held_out", "bad", "extracted", "cached", "patches", "rows")
    return {
        "kind": reply.kind,
        "epsilon": reply.privacy.spent if reply.privacy else None,
        "bytes": reply.nbytes,
        "wire_bytes": reply.wire_bytes,
        "extract_seconds": reply.extract_seconds,
        "select_seconds": reply.select_seconds,
        **{key: sum(getattr(s, key) for s in reply.stats) for key in keys},
    }


def evaluated(reply: EvaluateReply) -> dict[str, Any]:
    """Test images, verdicts and image AUROC, the last two by product.

    ``defects_found`` and ``good_stopped`` are ``[count, of]`` at the site's threshold and leave out
    products without one, so all of a site that withholds it. AUROC is that of the global bank, and
    of the site's own alone.
    """
    by_product = {r.product: verdict(asdict(r)) for r in reply.results}
    decided = {product: told for product, told in by_product.items() if told is not None}
    return {
        "seconds": reply.seconds,
        "images": sum(r.good + r.defective for r in reply.results),
        "defects_found": {p: [v.found.count, v.found.of] for p, v in decided.items()},
        "good_stopped": {p: [v.stopped.count, v.stopped.of] for p, v in decided.items()},
        "image_auroc": {r.product: r.image_auroc for r in reply.results},
        "local_image_auroc": {r.product: r.local_image_auroc for r in reply.results},
    }


def decided(event: Mapping[str, Any]) -> Verdict | None:
    """Verdicts of an evaluated site's products together.

    None where the event tells of none: no threshold, one that stays at the site, an older log.
    """
    event = tidy(event)
    told = [(event.get(key) or {}).values() for key in ("defects_found", "good_stopped")]
    rates = [[Rate(*pair) for pair in pairs if pair] for pairs in told]
    return Verdict(*(sum(some, Rate(0, 0)) for some in rates)) if any(rates) else None


def to_line(event: Mapping[str, Any]) -> str:
    """An event as one line of a log that people read as well."""
    return MARK + json.dumps(event)


class Line(dict):
    """An event as a log message: one line of text, or a mapping for a log of JSON objects."""

    def __str__(self) -> str:
        return to_line(self)


def from_line(line: str) -> dict[str, Any] | None:
    """The event in a log line; None if there is none.

    An event is `MARK` and a JSON object at the beginning of a message, or a whole line that is one
    JSON object. Nothing else begins so: `fedpatchcore.observe.logs.guard` sees to it that whatever
    is logged beside `Line` does not, whoever wrote its words.
    """
    text = without_colours(line).strip()
    if not text.startswith("{"):
        found = LEVEL.match(text)
        text = text[found.end() :] if found else ""
    if '"event"' not in text:
        return None
    try:
        event = tidy(json.loads(text))
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event.get("event"), str) else None
