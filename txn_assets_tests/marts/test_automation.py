"""When the marts follow the files: ticks of their condition, and the daemon with files that land."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest

from txn_assets.config import load_config
from txn_assets.definitions import build
from txn_assets.defs.marts import GROUP, REFRESH
from txn_assets_tests.deployment import make_config

MINUTES = 15
SINKS = ("bigquery_raw_transactions", "postgres_transactions")
MARTS = {"sales_by_product", "sales_by_date"}


@dataclass
class Ticks:
    """The automation of the marts, tick by tick, with an instance and a clock of its own."""

    defs: dg.Definitions
    instance: dg.DagsterInstance
    time: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    result: dg.EvaluateAutomationConditionsResult | None = None

    def load(self, *names: str) -> None:
        """Record that files were loaded into both databases."""
        self.instance.add_dynamic_partitions("landed_files", list(names))
        for name in names:
            for sink in SINKS:
                self.instance.report_runless_asset_event(dg.AssetMaterialization(sink, partition=name))

    def tick(self, *, minutes: float = 0.5) -> set[str]:
        """Evaluate the condition `minutes` after the last tick; return the marts that it requests."""
        self.time += dt.timedelta(minutes=minutes)
        self.result = dg.evaluate_automation_conditions(
            self.defs,
            self.instance,
            asset_selection=dg.AssetSelection.groups(GROUP),
            evaluation_time=self.time,
            cursor=self.result.cursor if self.result else None,
        )
        return {mart for mart in MARTS if self.result.get_num_requested(dg.AssetKey(mart))}


@pytest.fixture
def ticks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ticks]:
    """Return the automation after its first tick, when nothing is loaded yet."""
    path = tmp_path / "pipeline_config.yaml"
    make_config(path, {"orchestration": {"mart_minutes": MINUTES}})
    monkeypatch.setenv("TXN_CONFIG", str(path))
    with dg.DagsterInstance.ephemeral() as instance:
        first = Ticks(build(load_config()), instance)
        assert first.tick() == set()
        yield first


def test_many_files_are_one_request(ticks: Ticks) -> None:
    """Thirty files that load during the pause request the marts once before it, and once after it."""
    requests = []
    for n in range(0, 30, 3):
        ticks.load(*(f"{n + k}.csv" for k in range(3)))
        requests.append(ticks.tick(minutes=1))

    assert requests == [MARTS, *[set()] * 9]
    assert ticks.tick(minutes=MINUTES - 10) == set()
    assert ticks.tick(minutes=1) == MARTS
    assert ticks.tick(minutes=MINUTES) == set()


def test_no_load_is_forgotten(ticks: Ticks) -> None:
    """A load right after a request, or during the refresh, requests the marts again after the pause."""
    ticks.load("a.csv")
    assert ticks.tick() == MARTS
    ticks.load("b.csv")
    for mart in MARTS:
        ticks.instance.report_runless_asset_event(dg.AssetMaterialization(mart))
    assert ticks.tick() == set()
    assert ticks.tick(minutes=MINUTES - 1) == set()
    assert ticks.tick(minutes=0.5) == MARTS


def test_one_refresh_at_a_time(ticks: Ticks) -> None:
    """No refresh is requested while one is running, whoever started it."""
    run = ticks.instance.create_run_for_job(ticks.defs.resolve_job_def(REFRESH), status=dg.DagsterRunStatus.STARTED)
    ticks.load("a.csv")
    assert ticks.tick() == set()
    assert ticks.tick(minutes=MINUTES + 1) == set()

    ticks.instance.report_run_canceled(run)
    assert ticks.tick() == MARTS
