"""Figures, names and texts that no honest site sends are refused where a reply is unpacked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpatchcore.errors import CoresetError
from fedpatchcore.texts import NOTE, is_name, one_line, together
from fedpatchcore.wire.bounds import NOTES, SECTIONS, TEXTS
from fedpatchcore.wire.evaluate import unpack_evaluate
from fedpatchcore.wire.facts import unpack_facts
from fedpatchcore.wire.messages import (
    BINS,
    ROC_POINTS,
    EvaluateReply,
    ProductResult,
    SectionStats,
    SiteFacts,
    TrainReply,
)
from fedpatchcore.wire.packet import Packet, SiteFailure
from fedpatchcore.wire.packing import pack
from fedpatchcore.wire.train import unpack_train

HONEST = ProductResult(
    "plate",
    good=3,
    defective=2,
    calibrated=6,
    groups=6,
    folds=5,
    image_auroc=0.9,
    threshold=0.4,
    promised_fpr=0.1,
    fpr_low=0.0,
    fpr_high=0.4,
    true_positives=1,
    false_positives=1,
    true_negatives=2,
    false_negatives=1,
    histogram_top=1.0,
    roc=tuple(np.linspace(0, 1, ROC_POINTS).tolist()),
    histogram_good=(3,) + (0,) * (BINS - 1),
    histogram_defective=(2,) + (0,) * (BINS - 1),
    coverage=(4, 5),
    kinds={"scratch": (1, 2)},
)


def reply(*results: ProductResult, **more) -> Packet:
    return pack(EvaluateReply("south", results or (HONEST,), 1.0, **more))


def test_an_honest_reply_comes_as_it_was_sent_a_thousand_products_too() -> None:
    results = tuple(replace(HONEST, product=f"part {at:04d}") for at in range(1000))
    seen = unpack_evaluate(reply(*results, notes=tuple(f"note {at}" for at in range(1000))))
    assert seen.results == results and len(seen.notes) == 1000


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threshold": math.inf}, "'threshold'"),
        ({"threshold": -1.0}, "'threshold'"),
        ({"threshold": 5e-324}, "'threshold'"),
        ({"threshold": 1e300}, "'threshold'"),
        ({"threshold": math.nan}, "impossible figures"),
        ({"histogram_top": math.inf}, "'histogram_top'"),
        ({"histogram_top": 1e-310}, "'histogram_top'"),
        ({"histogram_top": 0.0}, "'histogram_top'"),
        ({"local_threshold": -0.5}, "'local_threshold'"),
        ({"image_auroc": 1e-320}, "'image_auroc'"),
        ({"good": 10**9}, "'good'"),
        ({"true_positives": 2}, "'true_positives'"),
        ({"false_positives": 3}, "'false_positives'"),
        ({"local_true_positives": 1}, "'local_true_positives'"),
        ({"histogram_good": (4,) + (0,) * (BINS - 1)}, "'histogram_good'"),
        ({"roc": tuple(np.linspace(1, 0, ROC_POINTS).tolist())}, "'roc'"),
        ({"calibrated": 0}, "rests on no images"),
        ({"calibrated": 0, "groups": 0, "folds": 0}, "rests on no images"),
        ({"product": "a\x1b[2J"}, "the name"),
        ({"product": "a\nb"}, "the name"),
        ({"product": "a" * 300}, "the name"),
        ({"kinds": {"a\x1b": (1, 2)}}, "a kind of defect"),
    ],
)
def test_figures_that_no_evaluation_gives_are_refused_in_one_line(changes, words: str) -> None:
    with pytest.raises(CoresetError, match=words) as told:
        unpack_evaluate(reply(replace(HONEST, **changes)))
    assert str(told.value).isprintable() and len(str(told.value)) < 500


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.texts.update(products=["plate", "plate"]),
        lambda p: p.texts.update(notes=["x"] * (NOTES + 1)),
        lambda p: p.texts.update(notes=["x" * (TEXTS + 1)]),
        lambda p: p.texts.update(more="x" * (TEXTS + 1)),
        lambda p: p.texts.update(site=""),
        lambda p: p.texts.update(site="a\x1b[2J"),
        lambda p: p.texts.update(site=7),
        lambda p: p.numbers.update(seconds=[1e-310]),
        lambda p: p.numbers.update(seconds=[1e300]),
        lambda p: p.numbers.update(memory=[1.5, 2]),
        lambda p: p.numbers.update({f"n{at}": [1] for at in range(SECTIONS + 1)}),
    ],
)
def test_more_than_a_message_needs_is_refused(change: Callable[[Packet], object]) -> None:
    packet = reply()
    change(packet)
    with pytest.raises(CoresetError) as told:
        unpack_evaluate(packet)
    assert str(told.value).isprintable() and len(str(told.value)) < 500


EYES = {"seen": (0.3, 0.0), "seconds": 0.25, "features": 10**9, "held": 10**8}
FACTS = SiteFacts("south", ("plate", "ring"), (3, 4), (0, 0), "cpu", "{}", "0.4.0", **EYES)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.numbers.update(train_images=[3]),
        lambda p: p.numbers.update(train_images=[-1, 4]),
        lambda p: p.numbers.update(train_images=[math.nan, 4]),
        lambda p: p.numbers.update(test_images=[10**9, 0]),
        lambda p: p.numbers.update(seen=[0.5]),
        lambda p: p.numbers.update(seen=[1.5, 0.0]),
        lambda p: p.numbers.update(seen=[math.nan, 0.0]),
        lambda p: p.numbers.update(seconds=[-1.0]),
        lambda p: p.numbers.update(seconds=[math.inf]),
        lambda p: p.numbers.update(features=[2**60, 0]),
        lambda p: p.numbers.update(features=[1]),
        lambda p: p.numbers.pop("seen"),
        lambda p: p.texts.update(products=["plate", "plate"]),
        lambda p: p.texts.update(products=["plate", ""]),
        lambda p: p.texts.update(fingerprint="x" * 10**6),
        lambda p: p.texts.update(products=[f"p{at}" for at in range(SECTIONS + 1)]),
    ],
)
def test_an_answer_to_the_roll_call_is_bounded(change: Callable[[Packet], object]) -> None:
    packet = pack(FACTS)
    assert vars(unpack_facts(packet)) == vars(FACTS)
    change(packet)
    with pytest.raises(CoresetError) as told:
        unpack_facts(packet)
    assert str(told.value).isprintable() and len(str(told.value)) < 500


def test_texts_from_elsewhere_are_single_harmless_lines() -> None:
    seen = unpack_facts(pack(replace(FACTS, device="gpu\n\x1b[31mred" + "x" * 10**6)))
    assert seen.device.isprintable() and seen.device.startswith("gpu \\x1b[31mred")
    told = unpack_evaluate(reply(notes=("a\r\nb\x9b2J\u202ec", "y" * 10**5))).notes
    assert told[0] == "a b\\x9b2J\\u202ec" and len(told[1]) == NOTE
    with pytest.raises(SiteFailure) as failure:
        unpack_train(Packet(texts={"site": "south", "failure": "no\n\x1b[2Jdisk" * 10**4}))
    assert str(failure.value).isprintable() and len(str(failure.value)) <= NOTE


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"radius": math.nan}, "radius"),
        ({"radius": 1e-310}, "radius"),
        ({"factor": math.inf}, "factor"),
        ({"rows": 6}, "6 rows of 5 patches"),
    ],
)
def test_a_section_s_figures_are_checked_before_they_are_told(changes, words: str) -> None:
    stats = replace(SectionStats("plate", patches=5, rows=5), **changes)
    with pytest.raises(CoresetError, match=words):
        stats.check("south")


def test_nothing_but_a_table_describes_sums_and_encodings() -> None:
    for key in ("sums", "wire"):
        for text in ("[" * 100_000, "[1]", "7", "{"):
            packet = pack(TrainReply("south", "none", None, ()))
            packet.texts[key] = text
            with pytest.raises(CoresetError, match="cannot be read"):
                unpack_train(packet)


@given(st.text(max_size=60), st.integers(2, 40))
def test_one_line_is_printable_short_and_stays_as_it_is(text: str, most: int) -> None:
    told = one_line(text, most)
    assert len(told) <= most
    assert all(c.isprintable() or c in "\u200c\u200d" for c in told)
    if is_name(text, most) and "  " not in text and text == " ".join(text.split()):
        assert told == text


def test_reasons_are_told_once_for_all_the_sites_they_are_of() -> None:
    full = {
        f"s-{at:02d}": f"budget of s-{at:02d} at site 's-{at:02d}': is full" for at in range(13)
    }
    some, other = together({**full, "x": "late", "x-1": "late"})
    assert some.startswith("s-00, s-01") and some.endswith(
        "s-09 and 3 more: budget of the site at the site: is full"
    )
    assert other == "x, x-1: late"
    assert together({"x": "x-1 is not x"}) == ["x: x-1 is not x"]
    assert together({}) == []
