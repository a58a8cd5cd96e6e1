"""Where the services are and how to sign in: plain values, which import no client."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Access:
    """Where the services are.

    Attributes:
        gcs_url, bigquery_url: addresses of the embedded servers; None for Google's, with the credentials of the
            environment.
        postgres: host, port, dbname, user, password and sslmode, as psycopg takes them.
    """

    project_id: str
    location: str
    gcs_url: str | None = None
    bigquery_url: str | None = None
    postgres: Mapping[str, Any] = field(repr=False)
