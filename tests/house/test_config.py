"""Settings are validated where they enter, and the message names key and range."""

from __future__ import annotations

import pytest

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.errors import ConfigError
from fedpatchcore.robustness.attacks import ATTACKS
from fedpatchcore.settings import kebab, words_of


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"agregation": "federated_coreset"}, ["unknown key 'agregation'", "'aggregation'"]),
        ({"global-bank-size": -5}, ["global-bank-size", "greater than or equal to 1", "-5"]),
        ({"coreset-size": "many"}, ["coreset-size", "valid integer", "many"]),
        ({"holdout": 1.0}, ["holdout", "less than 1"]),
        ({"target-fpr": 0}, ["target-fpr", "greater than 0"]),
        ({"neighbourhood": 4}, ["neighbourhood", "odd", "4"]),
        ({"aggregation": "median"}, ["aggregation", "coordinate_median", "median"]),
        ({"layer-norm": "max"}, ["layer-norm", "must be one of auto, none, unit, got 'max'"]),
        ({"backbone": "filterbnk"}, ["unknown backbone 'filterbnk' (did you mean 'filterbank'?)"]),
        ({"backbone": "Filterbank/x"}, ["(did you mean 'filterbank'?)"]),
        ({"partition": "manifest"}, ["manifest"]),
        ({"min-sites": 3, "expected-sites": 2}, ["expected-sites", "min-sites"]),
        (
            {"aggregation": "coordinate_median", "min-sites": 2, "tolerated-sites": 1},
            ["coordinate_median", "min-sites >= 3"],
        ),
    ],
)
def test_bad_run_config_names_key_and_range(table: dict, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse(table, where="run-config")
    message = str(caught.value)
    assert "\n" not in message
    for word in ["run-config", *words]:
        assert word in message


def mistyped(word: str) -> str:
    """A letter less, in the middle."""
    return word[: len(word) // 2] + word[len(word) // 2 + 1 :]


WORDS = [
    (kind, key, word)
    for kind in (RunConfig, NodeConfig)
    for key, field in kind.model_fields.items()
    for word in words_of(field)
    if len(word) > 4
]


@pytest.mark.parametrize(("kind", "key", "word"), WORDS, ids=str)
def test_a_word_mistyped_is_told_with_the_nearest_one(kind, key: str, word: str) -> None:
    """In one line, and with a bad number beside it as well."""
    for beside in ({}, {"seed": -1} if kind is RunConfig else {"partition-id": -9}):
        with pytest.raises(ConfigError) as caught:
            kind.parse({kebab(key): mistyped(word), **beside}, where="settings")
        told = str(caught.value)
        assert f"{kebab(key)}: must be one of" in told and f"did you mean '{word}'?" in told
        assert "\n" not in told and told.count("must be one of") == 1
        assert all(name in told for name in beside)


def test_the_words_of_settings_are_those_there_are() -> None:
    words = {key: words_of(field) for key, field in RunConfig.model_fields.items()}
    assert words["attack"] == ["", *ATTACKS]
    assert {"geometry", "layout", "aggregation", "dp", "wire", "partition"} <= {
        key for key, found in words.items() if found
    }


def test_a_word_of_no_likeness_is_told_without_a_guess() -> None:
    with pytest.raises(
        ConfigError, match=r"geometry: must be one of whole, tiles, crop, full, got 'gpu'$"
    ):
        RunConfig.parse({"geometry": "gpu"}, where="settings")


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"seed.*num-rounds|num-rounds.*seed"):
        RunConfig.parse({"seed": -1, "num-rounds": 0}, where="run-config")


def test_table_round_trips() -> None:
    config = RunConfig(backbone="filterbank", coreset_size=9)
    assert RunConfig.parse(config.table(), where="x") == config
    assert config.table()["coreset-size"] == 9


def test_node_config_beats_environment() -> None:
    environ = {"FEDPATCHCORE_SITE": "env", "FEDPATCHCORE_DATA": "/env"}
    node = NodeConfig.from_node({"site": "told"}, environ)
    assert (node.site, node.data) == ("told", "/env")
    assert not node.simulated


def test_a_word_that_is_empty_is_told_as_such() -> None:
    with pytest.raises(ConfigError, match="layout: must be one of '', auto, visa"):
        NodeConfig.from_node({"site": "a", "layout": "x"}, {})


def test_flower_marks_virtual_sites() -> None:
    assert NodeConfig.from_node({"partition-id": 0, "num-partitions": 3}, {}).simulated
    with pytest.raises(ConfigError, match="unknown key 'sites'"):
        NodeConfig.from_node({"sites": "a"}, {})
