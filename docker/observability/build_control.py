"""The dashboard of the control room, by Grafana's library (pip install '.[dashboards]').

python docker/observability/build_control.py    # writes grafana/dashboards/control.json
"""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.builders import stat, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

PROMETHEUS = DataSourceRef("prometheus", "fedpatchcore-prometheus")
FILE = Path(__file__).parent / "grafana" / "dashboards" / "control.json"
OWN = "fedpatchcore_control_"

STATS = (
    ("Sites here", "Heard of in the last 15 minutes, or at work.", "sites_here", "", "short"),
    ("Sites", "That ever answered a roll call.", "sites", "", "short"),
    ("Needs a person", "What the overview lists.", "matters", "grave: {{grave}}", "short"),
    ("Products", "With a bank in production, and with one that waits.", "products", "{{bank}}", ""),
    ("Banks", "Versions in the registry.", "banks", "", "short"),
    ("Trail", "Records; this number never falls.", "trail_records", "", "short"),
)
SERIES = (
    ("Runs by state", "Of all times.", (("%sruns", "{{state}}"),), "short"),
    (
        "Banks that sites asked for",
        "In the last 15 minutes: sent, unchanged since the last time, or gone from the disk.",
        (("increase(%spulls_total[15m])", "{{outcome}}"),),
        "short",
    ),
    (
        "In production since",
        "Age of the bank in production, by product.",
        (("time() - %sproduction_since_timestamp_seconds", "{{product}}: bank {{bank}}"),),
        "s",
    ),
    (
        "Requests",
        "Answers a second, by status.",
        (("rate(%srequests_total[$__rate_interval])", "{{status}}"),),
        "reqps",
    ),
    (
        "Until an answer, 90 %",
        "From a request to the head of its answer.",
        (
            (
                "histogram_quantile(0.9, sum by (le) (rate(%srequest_seconds_bucket"
                "[$__rate_interval])))",
                "90 %",
            ),
        ),
        "s",
    ),
    (
        "Follows",
        "Pages that follow live, and seconds since the results folder was last gone through.",
        (
            ("%slive_pages", "live pages"),
            ("time() - %slooked_timestamp_seconds", "since the last look"),
        ),
        "short",
    ),
)


def queries(panel, told):
    """A panel with its queries."""
    for at, (expression, legend) in enumerate(told):
        query = Dataquery().expr(expression.replace("%s", OWN)).ref_id("ABC"[at])
        panel = panel.with_target(query.legend_format(legend).datasource(PROMETHEUS))
    return panel


def dashboard() -> Dashboard:
    """All panels."""
    made = Dashboard("FedPatchCore control room").uid("fedpatchcore-control").refresh("15s")
    made = made.tags(["fedpatchcore"]).time("now-6h", "now").timezone("browser")
    made = made.with_row(Row("What is there"))
    for title, meaning, metric, legend, unit in STATS:
        panel = stat.Panel().title(title).description(meaning).datasource(PROMETHEUS)
        panel = panel.unit(unit or "short").height(4).span(4)
        made = made.with_panel(queries(panel, [(f"%s{metric}", legend)]))
    made = made.with_row(Row("What happens"))
    for title, meaning, told, unit in SERIES:
        panel = timeseries.Panel().title(title).description(meaning).datasource(PROMETHEUS)
        made = made.with_panel(queries(panel.unit(unit).height(8).span(8), told))
    return made


def text() -> str:
    """The file."""
    return JSONEncoder(sort_keys=True, indent=1).encode(dashboard().build()) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
