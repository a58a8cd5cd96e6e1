"""Record the requests to Google's APIs by the methods that they call, with a proxy in front of the embedded servers.

Methods: https://cloud.google.com/storage/docs/json_api/v1 and https://cloud.google.com/bigquery/docs/reference/rest.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from txn_assets.local.endpoints import Endpoints
from txn_assets_tests.faults.proxy import Proxy, read_message

_GCS = {
    r"GET /storage/v1/b/[^/]+": "buckets.get",
    r"GET /storage/v1/b/[^/]+/o": "objects.list",
    r"(GET|HEAD) (/download)?/storage/v1/b/[^/]+/o/[^/]+": "objects.get",
    r"PATCH /storage/v1/b/[^/]+/o/[^/]+": "objects.patch",
    r"DELETE /storage/v1/b/[^/]+/o/[^/]+": "objects.delete",
    r"POST /storage/v1/b/[^/]+/o/[^/]+/compose": "objects.compose",
    r"POST /storage/v1/b/[^/]+/o/[^/]+/rewriteTo/.+": "objects.rewrite",
    r"POST /upload/storage/v1/b/[^/]+/o": "objects.insert",
    # Sent to the address that `objects.insert` answered, which is the only credential.
    r"PUT /upload/storage/v1/b/[^/]+/o": "",
}
_BIGQUERY = {
    r"GET /datasets/[^/]+": "datasets.get",
    r"POST /datasets": "datasets.insert",
    r"GET /datasets/[^/]+/tables": "tables.list",
    r"POST /datasets/[^/]+/tables": "tables.insert",
    r"GET /datasets/[^/]+/tables/[^/]+": "tables.get",
    r"PATCH /datasets/[^/]+/tables/[^/]+": "tables.patch",
    r"DELETE /datasets/[^/]+/tables/[^/]+": "tables.delete",
    r"GET /datasets/[^/]+/tables/[^/]+/data": "tabledata.list",
    r"POST /jobs": "jobs.insert",
    r"POST /queries": "jobs.query",
    # Whoever created a job may ask for it, for its results and for its end.
    r"GET /jobs/[^/]+": "",
    r"GET /queries/[^/]+": "",
    r"POST /jobs/[^/]+/cancel": "",
}
_STATEMENT = re.compile(
    r"\b(SELECT|INSERT|UPDATE|DELETE|MERGE|TRUNCATE|"
    r"CREATE(?: OR REPLACE)?(?: TEMP)? (?:TABLE|VIEW|FUNCTION)|(?:ALTER|DROP) (?:TABLE|VIEW))\b"
)
_QUOTED = re.compile(r"`[^`]*`|'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")


class Recorder(Proxy):
    """A proxy that breaks nothing and notes the methods of each request."""

    def __init__(self, url: str) -> None:
        """Stand in front of the server at `url`."""
        address = urlsplit(url)
        super().__init__(str(address.hostname), int(address.port or 0), http=True)
        self.requests: list[list[str]] = []

    async def _http_turn(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        while True:
            request = await read_message(reader)
            self.requests.append(list(methods_of(request)))
            up_writer.write(request)
            writer.write(await read_message(up_reader, to=request))
            await writer.drain()


def methods_of(request: bytes) -> Iterator[str]:
    """Yield the methods of an HTTP request; a job has one for what it is, and for each statement of its script."""
    head, _, body = request.partition(b"\r\n\r\n")
    verb, target, _ = head.split(b"\r\n")[0].decode().split(" ")
    path = urlsplit(target).path
    if path.startswith("/batch/"):
        for part in re.findall(rb"^(?:GET|DELETE|PATCH|POST) /[^\r\n]*", body, re.MULTILINE):
            yield from methods_of(part + b"\r\n\r\n")
        return
    service, known = ("storage", _GCS)
    if found := re.fullmatch(r"/bigquery/v2/projects/[^/]+(/.*)", path):
        service, known, path = "bigquery", _BIGQUERY, found[1]
    names = [name for pattern, name in known.items() if re.fullmatch(pattern, f"{verb} {path}")]
    (name,) = names or [f"unknown: {verb} {path}"]
    if name == "jobs.insert":
        yield from (f"bigquery.{name}: {what}" for what in _of_job(json.loads(body)["configuration"]))
    elif name == "jobs.query":
        yield from (f"bigquery.{name}: {what}" for what in _of_script(json.loads(body)["query"]))
    elif name:
        yield f"{service}.{name}"


def _of_job(configuration: dict[str, Any]) -> set[str]:
    if "query" in configuration:
        return _of_script(configuration["query"]["query"])
    return configuration.keys() & {"load", "copy", "extract"}


def _of_script(text: str) -> set[str]:
    return {*_STATEMENT.findall(_QUOTED.sub("x", text))}


@contextmanager
def recording(endpoints: Endpoints) -> Iterator[tuple[Endpoints, list[list[str]]]]:
    """Yield endpoints whose GCS and BigQuery are recorded, and the methods of each request so far."""
    with ExitStack() as running:
        gcs, bigquery = (
            running.enter_context(Recorder(url).running()) for url in (endpoints.gcs_url, endpoints.bigquery_url)
        )
        assert isinstance(gcs, Recorder)
        assert isinstance(bigquery, Recorder)
        bigquery.requests = gcs.requests
        recorded = replace(
            endpoints, gcs_url=f"http://127.0.0.1:{gcs.port}", bigquery_url=f"http://127.0.0.1:{bigquery.port}"
        )
        yield recorded, gcs.requests
