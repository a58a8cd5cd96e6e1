"""Alerts: the mail server and its recipients, the daily heartbeat, and where the links in a message lead.

The address of a webhook is a secret, because whoever has it may post. So it is not here but in TXN_ALERT_WEBHOOK.
"""

from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints

from txn_assets.feeds.section import Section
from txn_assets.sections.security import Url

Address = Annotated[str, StringConstraints(pattern=r"^[^@\s,<>]+@[^@\s,<>]+$")]


def _of_minutes(value: object) -> object:
    """Return the time of day that YAML 1.1 reads as a number to the base of 60: `12:30` is 750."""
    return f"{value // 60:02}:{value % 60:02}" if type(value) is int and 0 <= value < 24 * 60 else value


TimeOfDay = Annotated[str, BeforeValidator(_of_minutes), StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Smtp(Section):
    """The mail server that sends alerts. Without this section no mail is sent."""

    host: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:-]+$")] = Field(
        description="Host of the mail server."
    )
    port: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=587, description="Port. On 465 the connection begins with TLS, on others with STARTTLS."
    )
    sender: Address = Field(description="Address that alerts come from.")
    recipients: Annotated[tuple[Address, ...], Field(min_length=1)] = Field(description="Addresses that get alerts.")
    user: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        default=None, description="User of the mail server. Its password is in TXN_SMTP_PASSWORD."
    )


class Alerts(Section):
    """Whom to tell when a run or a check fails, and how."""

    smtp: Smtp | None = Field(default=None, description="The mail server.")
    dashboard_url: Url | None = Field(default=None, description="Address of Dagster's UI, for links to runs.")
    heartbeat: TimeOfDay | None = Field(
        default="08:00",
        description="Time of day (UTC) of the message that says that alerts work. `null` for none.",
    )
