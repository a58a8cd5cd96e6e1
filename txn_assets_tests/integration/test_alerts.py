"""Alerts: failed runs and checks reach a real receiver, once, and so does their end."""

import email.policy
import json
import time
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from typing import Any

import dagster as dg
import pytest
from aiosmtpd.controller import Controller

from txn_assets.definitions import build
from txn_assets.defs.alerts import SETTLE_SECONDS
from txn_assets.local import ports
from txn_assets_tests.deployment import Deployment, make_file, make_row
from txn_assets_tests.receiver import Receiver, receiving

BAD = b"not,the,header\nT-SECRET-1,x,y\n"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Yield a receiver that the environment names."""
    with receiving() as one:
        monkeypatch.setenv("TXN_ALERT_WEBHOOK", one.url)
        yield one


class Ticks:
    """The ticks of an alert sensor, which pass on its cursor."""

    def __init__(self, deployment: Deployment, name: str = "alerts_by_webhook") -> None:
        self._deployment = deployment
        self._name = name
        self.cursor: str | None = None

    def tick(self) -> str:
        """Evaluate the sensor once the events have settled, and return what it says."""
        time.sleep(SETTLE_SECONDS)
        sensor = build(self._deployment.config).resolve_sensor_def(self._name)
        with dg.build_sensor_context(self._deployment.instance, cursor=self.cursor) as context:
            result = sensor(context)
            self.cursor = context.cursor
        assert isinstance(result, dg.SkipReason)
        return str(result.skip_message)


def test_failure_and_recovery(deployment: Deployment, receiver: Receiver) -> None:
    """A failed file is told once, without what is in it; the next load that works is told too, and later ones not."""
    deployment.configure({"alerts": {"dashboard_url": "https://dagster.example"}})
    ticks = Ticks(deployment)
    deployment.land("a.csv", BAD)
    failed = deployment.materialize("a.csv", raise_on_error=False)
    ticks.tick()
    again = deployment.materialize("a.csv", raise_on_error=False)
    assert ticks.tick() == "No news in 1 ended runs."

    title, line = receiver.texts[0].splitlines()
    assert title == f"txn_assets on {deployment.config.data_lake.gcs_bucket}: 1 new problem"
    assert line == f"- transactions: 1 file failed at step raw_csv: a.csv https://dagster.example/runs/{failed.run_id}"
    assert not again.success
    assert "SECRET" not in json.dumps(receiver.messages)

    deployment.load("a.csv", make_row())
    ticks.tick()
    deployment.load("a.csv", make_row())
    ticks.tick()

    assert [text.partition(": ")[2] for text in receiver.texts[1:]] == [
        "1 recovered\n- transactions: 1 file recovered: a.csv"
    ]
    (heartbeat,) = (one["text"] for one in receiver.messages if one["text"] not in receiver.texts)
    assert "Alerts work. Runs so far: 0 succeeded, 1 failed." in heartbeat


def test_receiver_that_is_down(deployment: Deployment, receiver: Receiver) -> None:
    """While the receiver is down, nothing is lost and its address is not shown; when it is back, all is told once."""
    deployment.configure({"alerts": {"heartbeat": None}})
    ticks = Ticks(deployment)
    receiver.status = 500
    deployment.land("a.csv", BAD)
    deployment.materialize("a.csv", raise_on_error=False)
    said = ticks.tick()
    deployment.land("b.csv", BAD)
    deployment.materialize("b.csv", raise_on_error=False)
    said += ticks.tick()
    assert "The webhook at 127.0.0.1 answered 500." in said
    assert "2 deliveries failed; the next try is" in ticks.tick()
    assert "SECRET" not in said
    assert (receiver.messages, receiver.refused) == ([], 2)

    receiver.status = 200
    ticks.cursor = json.dumps(json.loads(ticks.cursor or "") | {"not_before": 0})
    assert ticks.tick() == "Delivered 2 new problems and 0 that are over."
    ticks.tick()

    (text,) = receiver.texts
    assert "2 files failed at step raw_csv: a.csv, b.csv" in text


def test_batch_of_failing_files(deployment: Deployment, receiver: Receiver) -> None:
    """A run in which all files but one fail is one message with one line, and the good file is not in it."""
    names = [f"{n:03}.csv" for n in range(15)]
    for name in names:
        deployment.land(name, make_file(make_row()) if name == "007.csv" else make_file(make_row(price="x")))
    result = deployment.materialize_batch(*names)
    assert not result.success

    Ticks(deployment).tick()

    (text,) = receiver.texts
    title, *lines = text.splitlines()
    assert title.endswith(": 14 new problems")
    assert [line.partition(" failed ")[0] for line in lines] == ["- transactions: 14 files"]
    assert "000.csv, 001.csv" in lines[0]
    assert "007.csv" not in lines[0]


def test_check_without_a_run(deployment: Deployment, receiver: Receiver) -> None:
    """A check that a sensor evaluates, as it does with `file_expected`, is told when it fails and when it passes."""
    deployment.configure({"alerts": {"heartbeat": None}})
    ticks = Ticks(deployment)
    for passed in (False, True):
        evaluation = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey("landing_zone"),
            check_name="file_expected",
            passed=passed,
            metadata={"files": 0},
            severity=dg.AssetCheckSeverity.ERROR,
        )
        deployment.instance.report_runless_asset_event(evaluation)
        ticks.tick()
    assert [text.partition("\n")[2] for text in receiver.texts] == [
        "- failed check landing_zone: file_expected",
        "- check landing_zone: file_expected recovered",
    ]


def test_mail(deployment: Deployment) -> None:
    """Mail has the counts in its subject and the files in its text."""
    mails: list[EmailMessage] = []

    class Handler:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's
            message = message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(message, EmailMessage)
            mails.append(message)
            return "250 OK"

    controller = Controller(Handler(), hostname="127.0.0.1", port=ports.choose(("smtp",), {})["smtp"])
    controller.start()
    try:
        smtp = {
            "host": "127.0.0.1",
            "port": controller.port,
            "sender": "txn@example.com",
            "recipients": ["ops@example.com"],
        }
        deployment.configure({"alerts": {"smtp": smtp, "heartbeat": None}})
        deployment.land("ä.csv", BAD)
        deployment.materialize("ä.csv", raise_on_error=False)
        said = Ticks(deployment, "alerts_by_mail").tick()
    finally:
        controller.stop()
    assert said == "Delivered 1 new problems and 0 that are over."
    (mail,) = mails
    assert (mail["From"], mail["To"]) == ("txn@example.com", "ops@example.com")
    assert str(mail["Subject"]).endswith(": 1 new problem")
    assert "1 file failed at step raw_csv: ä.csv (run " in mail.get_content()


def test_off_by_default(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a receiver there is no sensor."""
    monkeypatch.delenv("TXN_ALERT_WEBHOOK", raising=False)
    sensors = build(deployment.config).sensors or []
    assert [sensor.name for sensor in sensors if sensor.name.startswith("alerts")] == []
