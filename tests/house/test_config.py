"""Settings are validated where they enter, and the message names key and range."""

from __future__ import annotations

import pytest

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.errors import ConfigError


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
        ({"layer-norm": "max"}, ["layer-norm", "'auto', 'none' or 'unit'"]),
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
