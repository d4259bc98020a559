"""The report's section on training: from a round's facts to lines of a table."""

from __future__ import annotations

from types import SimpleNamespace

from fedpatchcore.report.views.training import MOST, training


def story(rounds: list[dict], **config) -> SimpleNamespace:
    return SimpleNamespace(rounds=rounds, config={"method": "generator", **config})


def facts(loss: float | None, **more) -> dict:
    told = {"updates": 3, "optimiser": "scaffold", "moved": 0.25, "steps": {"a": 4, "b": 9}}
    return {**told, **({} if loss is None else {"train_loss": loss}), **more}


def texts(section) -> list[list[str]]:
    return [[str(cell.text) for cell in line.cells] for line in section.view.table.rows]


def test_nothing_is_said_where_nothing_was_trained() -> None:
    assert training(story([{"round": 1, "sections": {"plate": {"rows": 9}}}])) == []
    assert training(story([{"round": 1, "sections": None}, {}])) == []


def test_a_line_a_round_and_whether_the_loss_fell() -> None:
    rounds = [{"round": at, "sections": {"plate": facts(1.0 / at)}} for at in (1, 2)]
    (section,) = training(story(rounds))
    assert texts(section) == [
        ["1", "3", "4 to 9", "1", "0.25"],
        ["2", "3", "4 to 9", "0.5", "0.25"],
    ]
    assert section.view.fell == (1, 1)
    assert section.view.optimiser == "scaffold"


def test_products_and_held_out_images_have_columns_where_there_are_any() -> None:
    both = {"plate": facts(1.0, held_out_loss=1.5), "ring": facts(None, steps={})}
    (section,) = training(story([{"round": 1, "sections": both}]))
    assert texts(section) == [
        ["1", "plate", "3", "4 to 9", "1", "1.5", "0.25"],
        ["1", "ring", "3", "–", "–", "–", "0.25"],
    ]
    assert section.view.fell == (0, 0)


def test_a_thousand_rounds_make_a_table_that_opens() -> None:
    rounds = [{"round": at, "sections": {"plate": facts(1.0)}} for at in range(MOST + 7)]
    (section,) = training(story(rounds))
    assert len(section.view.table.rows) == MOST
    assert section.view.more == 7
    assert section.view.table.fold
