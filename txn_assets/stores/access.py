"""Addresses and credentials of the services, as plain values. Do not import a client here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Access:
    """Addresses and credentials of the services.

    Attributes:
        gcs_url, bigquery_url: addresses of the embedded servers; None for Google's services, with the credentials
            from the environment.
        postgres: host, port, dbname, user, password and sslmode, as psycopg takes them.
    """

    project_id: str
    location: str
    gcs_url: str | None = None
    bigquery_url: str | None = None
    postgres: Mapping[str, Any] = field(repr=False)
