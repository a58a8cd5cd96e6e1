"""Run local-bigquery with cheap look-ups and the system variables of a load: `... -m txn_assets.local.bigquery_server`.

It takes the arguments of the command `local-bigquery`, which knows `@@script.job_id` but not the other two variables.
The supervisor starts it in `.venv-servers`; see bigquery.py.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from local_bigquery import cli
from local_bigquery.jobs import query
from local_bigquery.sql.translate import Context

from txn_assets.local import bigquery_lookups


def with_script_variables(*args: Any, system: Mapping[str, Any] | None = None, **options: Any) -> Context:  # noqa: ANN401 - those of `Context`
    """Return the context of a query, which bills nothing."""
    variables = {"script.bytes_billed": 0, "script.creation_time": dt.datetime.now(dt.UTC)}
    return Context(*args, system=variables | dict(system or {}), **options)


if __name__ == "__main__":
    query.Context = with_script_variables
    bigquery_lookups.install()
    cli.main()
