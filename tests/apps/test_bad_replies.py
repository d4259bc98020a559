"""Replies that no honest site sends: refused by name, and the others go on."""

from __future__ import annotations

import io

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict

from client_app.records import from_records, to_records
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import CoresetError
from fedpatchcore.wire.packet import Packet
from tests.support.replies import spoiled


def first(packet: Packet) -> str:
    return next(iter(packet.arrays))


BAD_REPLIES = {
    "NaN": (lambda p: p.arrays[first(p)].__setitem__((3, 2), np.nan), "NaN or infinite"),
    "infinite": (lambda p: p.arrays[first(p)].__setitem__((0, 0), np.inf), "NaN or infinite"),
    "dimension": (lambda p: p.arrays.update({first(p): np.ones((30, 7), np.float32)}), "shape"),
    "dtype": (lambda p: p.arrays.update({first(p): np.ones((30, 128))}), "float64"),
    "zero rows": (lambda p: p.arrays.update({first(p): np.ones((0, 128), np.float32)}), "rows"),
    "vector": (lambda p: p.arrays.update({first(p): np.ones(128, np.float32)}), "shape"),
    "a billion images": (lambda p: p.numbers.update(images=[10**9]), "not possible"),
    "a billion rows": (lambda p: p.numbers.update(rows=[10**9]), "says 1,000,000,000 rows"),
    "more rows than asked": (
        lambda p: (
            p.arrays.update({first(p): np.repeat(p.arrays[first(p)], 40, axis=0)}),
            p.numbers.update(rows=[40 * n for n in p.numbers["rows"]]),
        ),
        "asked were",
    ),
    "radius": (lambda p: p.numbers.update(radius=[float("nan")]), "radius"),
    "unknown section": (lambda p: p.arrays.update({"x": np.ones((1, 128), np.float32)}), "'x'"),
    "missing figures": (lambda p: p.numbers.pop("patches"), "cannot be read"),
    "another site's name": (lambda p: p.texts.update(site="north"), "calls itself 'north'"),
    "kind": (lambda p: p.texts.update(kind="all"), "cannot be read"),
    "fingerprint": (
        lambda p: p.texts.update(fingerprint=p.texts["fingerprint"].replace("unit", "none")),
        "layer_norm: unit ≠ none",
    ),
    "no fingerprint": (lambda p: p.texts.update(fingerprint="{"), "not a fingerprint"),
}


@pytest.mark.parametrize("name", BAD_REPLIES)
def test_a_bad_reply_is_rejected_by_name_and_the_round_goes_on(name: str, run) -> None:
    change, words = BAD_REPLIES[name]
    folder, metrics, _ = run(spoiled(change))
    record = metrics["rounds"][0]
    assert words in record["rejected"]["south"]
    assert set(record["train"]) == {"north", "west"}
    assert MemoryBank.load(folder / "bank.safetensors").sites == ("north", "west")
    assert "south" in (folder / "report.html").read_text()


def test_an_array_that_claims_more_than_it_carries_is_refused_before_it_is_allocated() -> None:
    honest = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        honest, {"descr": "<f4", "fortran_order": False, "shape": (10**12, 768)}
    )
    lying = Array("float32", (3, 768), "numpy.ndarray", honest.getvalue() + b"\0" * 64)
    records = to_records(Packet())
    records["arrays"] = ArrayRecord({"plate": lying})
    with pytest.raises(CoresetError, match="claims the shape"):
        from_records(records)
    cut = Array(np.ones((30, 8), np.float32))
    cut.data = cut.data[:-5]
    records["arrays"] = ArrayRecord({"plate": cut})
    with pytest.raises(CoresetError, match="cut short"):
        from_records(records)
    with pytest.raises(CoresetError, match="does not hold"):
        from_records(RecordDict())


@pytest.mark.parametrize("rows", [0, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_reply_can_be_read_without_copying_it(rows: int, order: str) -> None:
    sent = np.asarray(np.random.default_rng(0).normal(size=(rows, 7)), np.float32, order=order)
    records = to_records(Packet({"plate": sent}))
    view = from_records(records, copy=False).arrays["plate"]
    np.testing.assert_array_equal(view, sent)
    assert view.dtype == sent.dtype
    assert not view.flags.writeable
    if rows:
        assert np.shares_memory(view, np.frombuffer(records["arrays"]["plate"].data, np.uint8))
    from_records(records).arrays["plate"][:] = 1  # a copy is the receiver's own
    np.testing.assert_array_equal(view, sent)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.texts.update(fingerprint="{}"), "not a fingerprint"),
        (lambda p: p.texts.pop("products"), "cannot be read"),
        (lambda p: p.numbers.pop("simulated"), "cannot be read"),
    ],
)
def test_a_bad_answer_to_the_roll_call_does_not_stop_the_others(change, words: str, run) -> None:
    _, metrics, grid = run(spoiled(change, kind="query"))
    record = metrics["rounds"][0]
    assert set(record["train"]) == {"north", "west"}
    assert words in " ".join(record["rejected"].values())
    assert (12, "train") not in grid.sent


MORE_BAD_METRICS = [  # of the same kinds as those that `make test` has
    (lambda p: p.numbers.update(true_positives=[-1]), "'true_positives'"),
    (lambda p: p.numbers.update(threshold=[float("inf")]), "'threshold'"),
    (lambda p: p.texts.update(notes=["x"] * 100_000), "'notes' are 100,000"),
    (lambda p: p.numbers.update(groups=[7]), "impossible figures"),
    (lambda p: p.numbers.update(fpr_low=[0.9]), "impossible figures"),
    (lambda p: p.numbers.update(promised_fpr=[float("nan")]), "impossible figures"),
    (lambda p: p.texts.update(kinds=['{"square": [1, 1]}']), "'kinds'"),
    (lambda p: p.texts.update(kinds=['{"square": [1.0, 3]}']), "no counts"),
    (lambda p: p.texts.update(kinds=["[1]"]), "no table"),
    (lambda p: p.texts.update(kinds=['{"a\\nb": [3, 3]}']), "a kind of defect called"),
    (lambda p: p.texts.update(kinds=["no json"]), "cannot be read"),
]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.numbers.pop("image_auroc"), "cannot be read"),
        (lambda p: p.numbers.update(roc=[0.5] * 7), "'roc' holds 7 values"),
        (lambda p: p.numbers.update(image_auroc=[7.5]), "'image_auroc' of product 'plate' is 7.5"),
        (lambda p: p.numbers.update(histogram_top=[5e-324]), "'histogram_top'"),
        (lambda p: p.numbers.update(coverage=[1] * 9), "another bank"),
        (lambda p: p.numbers.update(groups=[0]), "impossible figures"),
        (lambda p: p.numbers.update(fpr_low=[float("nan")]), "impossible figures"),
        (lambda p: p.texts.update(kinds=['{"square": [9, 3]}']), "'kinds'"),
        (lambda p: p.texts.update(kinds=["[" * 100_000]), "without end"),
        (lambda p: p.texts.update(site="west"), "calls itself 'west'"),
        *(pytest.param(*one, marks=pytest.mark.long) for one in MORE_BAD_METRICS),
    ],
)
def test_bad_metrics_cost_the_metrics_of_that_site_only(change, words: str, run) -> None:
    folder, metrics, _ = run(spoiled(change, kind="evaluate"))
    record = metrics["rounds"][0]
    assert set(record["evaluate"]) == {"north", "west"}
    assert words in record["rejected"]["south"]
    assert "south" in MemoryBank.load(folder / "bank.safetensors").sites


@pytest.mark.parametrize(
    ("kind", "record", "key", "value"),
    [
        ("query", "texts", "products", [1, 2]),
        ("train", "numbers", "represented", [float("nan")]),
        ("train", "numbers", "memory", [1, 2, 3, 2**60]),
        ("evaluate", "texts", "products", [7]),
        ("evaluate", "numbers", "calibrated", [0.5]),
    ],
)
def test_one_malformed_reply_costs_that_site_alone(run, kind, record, key, value) -> None:
    def alter(node: int, asked: str, reply: Message) -> Message:
        here = asked == kind and reply.has_content() and key in reply.content[record]
        if here and reply.content["texts"]["site"] == "south":
            reply.content[record][key] = value
        return reply

    folder, metrics, _ = run(alter=alter, products="plate")
    told = metrics["rounds"][0]
    assert set(told["train"]) >= {"north", "west"}
    assert "south" in " ".join([*told["rejected"], *map(str, told["notes"])]) or kind == "query"
    assert (folder / "report.html").exists()
