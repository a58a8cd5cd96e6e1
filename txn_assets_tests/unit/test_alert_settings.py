"""The settings of alerts: what is refused, and that secrets come from the environment."""

from pathlib import Path
from typing import Any

import pytest

from txn_assets.config import PipelineConfig, load_config
from txn_assets.defs.alerts import define_alerts
from txn_assets.environment import ConfigError
from txn_assets_tests.deployment import make_config

MAIL = {"host": "mail.example", "sender": "txn@example.com", "recipients": ["ops@example.com"]}


def _load(folder: Path, alerts: dict[str, Any]) -> PipelineConfig:
    path = folder / "config.yaml"
    make_config(path, {"alerts": alerts})
    return load_config(path)


@pytest.mark.parametrize(
    ("alerts", "sentence"),
    [
        (
            {"webhook": "https://hooks.example/SECRET"},
            "alerts.webhook is a secret. Set it with the environment variable TXN_ALERT_WEBHOOK instead",
        ),
        (
            {"smtp": MAIL | {"password": "SECRET"}},
            "alerts.smtp.password is a secret. Set it with the environment variable TXN_SMTP_PASSWORD instead",
        ),
        ({"smtp": MAIL | {"recipients": []}}, "alerts.smtp.recipients: "),
        ({"smtp": MAIL | {"sender": "x\nBcc: y@example.com"}}, "alerts.smtp.sender: "),
        ({"heartbeat": "25:00"}, "alerts.heartbeat: "),
        ({"dashboard": "https://dagster.example"}, "did you mean 'dashboard_url'?"),
    ],
)
def test_refused_settings(tmp_path: Path, alerts: dict[str, Any], sentence: str) -> None:
    """A setting that cannot be used is refused by name, and a secret is not repeated."""
    with pytest.raises(ConfigError) as refused:
        _load(tmp_path, alerts)
    assert sentence in str(refused.value)
    assert "SECRET" not in str(refused.value)


def test_time_without_quotes(tmp_path: Path) -> None:
    """YAML reads 12:30 without quotes as 750, which is the same time."""
    assert _load(tmp_path, {"heartbeat": 750}).alerts.heartbeat == "12:30"


@pytest.mark.parametrize(
    ("variables", "smtp", "sentence"),
    [
        (
            {"TXN_TARGET": "gcp", "TXN_ALERT_WEBHOOK": "http://hooks.example/SECRET"},
            None,
            "TXN_ALERT_WEBHOOK is not an address that begins with https://.",
        ),
        ({}, MAIL | {"user": "txn"}, "alerts.smtp.user is set, but TXN_SMTP_PASSWORD is not."),
    ],
)
def test_refused_variables(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    smtp: dict[str, Any] | None,
    sentence: str,
) -> None:
    """On the gcp target, messages only leave encrypted; a user needs a password."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refused:
        define_alerts(_load(tmp_path, {"smtp": smtp}))
    assert sentence in str(refused.value)
    assert "SECRET" not in str(refused.value)
