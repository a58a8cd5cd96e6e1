"""What the accounts of a deployment need to be allowed, and what docs/deploy.md allows them.

The needs come from the calls in the code, the grants from the commands of the page, run with a fake `gcloud` and `bq`
that only record their arguments. `python -m txn_assets_tests.deploy.permissions` prints the page's table. Permissions
of methods: https://cloud.google.com/storage/docs/access-control/iam-json and
https://cloud.google.com/bigquery/docs/access-control. For a load job from a bucket:
https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet#required_permissions.
"""

import ast
import inspect
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dagster_gcp.gcs import compute_log_manager
from google.cloud import bigquery, storage

from txn_assets.config import load_config
from txn_assets.stores.bigquery.store import BigQueryStore
from txn_assets.stores.gcs.store import GcsStore
from txn_assets.stores.landing.zone import LandingZone
from txn_assets.stores.quarantine import Quarantine
from txn_assets.upload import health, idempotency
from txn_assets.watch import billing_figures

ROOT = Path(__file__).parents[2]
CODE, CONTROL, UPLOADS, METRICS, UPLOADERS = "txn-assets", "dagster", "txn-uploads", "txn-metrics", "uploaders"
DATA, LOGS, DATASET, PROJECT = "data bucket", "logs bucket", "dataset", "project"

_CLIENTS = (storage.Client, storage.Bucket, storage.Blob, bigquery.Client, bigquery.LoadJob, bigquery.QueryJob)
METHODS: dict[str, tuple[str, ...]] = {
    "compose": ("storage.objects.create", "storage.objects.delete", "storage.objects.get"),
    "copy_blob": ("storage.objects.create", "storage.objects.delete", "storage.objects.get"),
    # Delete is needed because an upload may replace an object.
    "create_resumable_upload_session": ("storage.objects.create", "storage.objects.delete"),
    "create_table": ("bigquery.tables.create",),
    "delete": ("storage.objects.delete",),
    "delete_blobs": ("storage.objects.delete",),
    "delete_table": ("bigquery.tables.delete",),
    "download_as_bytes": ("storage.objects.get",),
    "download_to_file": ("storage.objects.get",),
    "download_to_filename": ("storage.objects.get",),
    # For a bucket or an object.
    "exists": ("storage.buckets.get", "storage.objects.get"),
    "get_blob": ("storage.objects.get",),
    "get_bucket": ("storage.buckets.get",),
    "get_dataset": ("bigquery.datasets.get",),
    "get_table": ("bigquery.tables.get",),
    "list_blobs": ("storage.objects.list",),
    "list_tables": ("bigquery.tables.list",),
    "load_table_from_uri": (
        *("bigquery.jobs.create", "bigquery.tables.create", "bigquery.tables.update", "bigquery.tables.updateData"),
        *("storage.buckets.get", "storage.objects.get", "storage.objects.list"),
    ),
    "open": ("storage.objects.get",),
    "patch": ("storage.objects.get", "storage.objects.update"),
    "query": ("bigquery.jobs.create", "bigquery.tables.getData", "bigquery.tables.updateData"),
    "query_and_wait": ("bigquery.jobs.create", "bigquery.tables.getData", "bigquery.tables.updateData"),
    "reload": ("storage.buckets.get", "storage.objects.get"),
    "rewrite": ("storage.objects.create", "storage.objects.delete", "storage.objects.get"),
    "update_table": ("bigquery.tables.get", "bigquery.tables.update"),
    # Delete is needed because an upload may replace an object.
    "upload_from_file": ("storage.objects.create", "storage.objects.delete"),
    "upload_from_filename": ("storage.objects.create", "storage.objects.delete"),
    "upload_from_string": ("storage.objects.create", "storage.objects.delete"),
}
"""Methods of the client libraries that send a request, and the permissions that the request needs."""

WITHOUT = {
    *("blob", "bucket", "from_api_repr", "from_service_account_info", "to_api_repr", "to_arrow", "close"),
    # For jobs: whoever created one may query and cancel it.
    *("cancel", "done", "exception", "get_job", "result"),
    # Uses our own key, if there is one; without it the UI shows no link.
    "generate_signed_url",
    # Of futures, and of `local/dagster_dev.py`.
    *("add_done_callback", "running", "set_result"),
    # Section 3 of the page creates the dataset of the marts, and the code only one that is missing.
    "create_dataset",
    # Of dicts, sets and checksums. Blob.update and Bucket.update are not used.
    "update",
}
"""Methods that send no request, or one that needs no extra permission."""

ROLES: dict[str, set[str]] = {
    # https://cloud.google.com/storage/docs/access-control/iam-roles
    "storage.objectUser": {f"storage.objects.{verb}" for verb in ("create", "delete", "get", "list", "update")},
    "storage.objectViewer": {"storage.objects.get", "storage.objects.list"},
    "storage.legacyBucketReader": {"storage.buckets.get", "storage.objects.list"},
    # https://cloud.google.com/bigquery/docs/access-control
    "bigquery.jobUser": {"bigquery.jobs.create"},
    "bigquery.dataViewer": {
        "bigquery.datasets.get",
        *(f"bigquery.tables.{verb}" for verb in ("get", "getData", "list")),
    },
    "bigquery.dataEditor": {
        "bigquery.datasets.get",
        *(f"bigquery.tables.{verb}" for verb in ("create", "delete", "get", "getData", "list", "update", "updateData")),
    },
}


@dataclass(frozen=True, order=True)
class Need:
    """A permission that an account needs, and the methods that need it."""

    account: str
    where: str
    permission: str
    methods: tuple[str, ...]


@dataclass(frozen=True, order=True)
class Grant:
    """A role that the page grants to an account, perhaps under a condition."""

    account: str
    where: str
    role: str
    condition: str = ""

    @property
    def place(self) -> str:
        """Return where the role is granted, with the prefix that the condition names."""
        prefix = re.search(r"/objects/([^\"]*)/", self.condition)
        return f"{self.where}, {prefix[1]}/" if prefix else self.where


def calls(source: str) -> set[str]:
    """Return the names of the client libraries' methods that `source` calls."""
    known = {name for client in _CLIENTS for name in dir(client) if name[0] != "_" and callable(getattr(client, name))}
    return {
        node.func.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in known
    }


def code_calls() -> set[str]:
    """Return the methods that the code locations and the runs call."""
    files = [path for path in (ROOT / "txn_assets").rglob("*.py") if "local" not in path.relative_to(ROOT).parts]
    return {name for path in files for name in calls(path.read_text())}


def upload_needs() -> list[Need]:
    """Return what the upload service needs: its own calls, and those of the functions that it calls in the stores."""
    lake = load_config(ROOT / "data" / "pipeline_config.yaml").data_lake
    of_place = {
        f"{DATA}, {lake.landing}/": (LandingZone.latest, LandingZone.new_session, health.make_checks),
        f"{DATA}, {lake.staging}/uploads/": (idempotency.Claim,),
        f"{DATA}, {lake.quarantine}/": (Quarantine.findings,),
        f"{DATA}, {lake.path}/": (GcsStore.held,),
    }
    found = [
        need
        for place, sources in of_place.items()
        for source in sources
        for need in _needs(UPLOADS, calls(textwrap.dedent(inspect.getsource(source))), place)
        # GCS answers 404 instead of 403 for a missing object only to those who may list the bucket.
        if need.permission != "storage.buckets.get"
    ]
    found.append(Need(UPLOADS, DATA, "storage.objects.list", ("get_blob",)))
    # The ledger is only read.
    assert "query" in calls(textwrap.dedent(inspect.getsource(BigQueryStore.newest_loads)))
    read = {"get_table", "query"}
    found += [need for need in _needs(UPLOADS, read, DATA) if not need.permission.endswith(".updateData")]
    return [Need(UPLOADS, where, name, ()) for where, name in sorted({(need.where, need.permission) for need in found})]


def metrics_needs() -> list[Need]:
    """Return what `txn metrics` needs: it reads BigQuery's ledgers."""
    made = calls(inspect.getsource(billing_figures)) & METHODS.keys()
    read = [need for need in _needs(METRICS, made, DATA) if not need.permission.endswith(".updateData")]
    return [Need(METRICS, need.where, need.permission, ()) for need in read]


def log_calls() -> set[str]:
    """Return the methods that Dagster's compute log manager calls."""
    return calls(inspect.getsource(compute_log_manager))


def unknown() -> set[str]:
    """Return the methods whose needs are not listed yet."""
    return (code_calls() | log_calls()) - set(METHODS) - WITHOUT


def needs() -> list[Need]:
    """Return what each account needs, and where."""
    return sorted(
        [
            *_needs(CODE, code_calls(), DATA),
            *_needs(CODE, log_calls(), LOGS),
            *_needs(CONTROL, log_calls(), LOGS),
            *upload_needs(),
            *metrics_needs(),
        ]
    )


def _needs(account: str, methods: Iterable[str], bucket: str) -> Iterator[Need]:
    known = sorted(set(methods) & set(METHODS))
    for permission in sorted({permission for name in known for permission in METHODS[name]}):
        where = PROJECT if permission.startswith("bigquery.jobs.") else DATASET
        yield Need(
            account,
            bucket if permission.startswith("storage.") else where,
            permission,
            tuple(name for name in known if permission in METHODS[name]),
        )


def roles_for(need: Need, grants: Sequence[Grant]) -> list[str]:
    """Return the roles of `grants` that meet `need`, without a condition or where their condition says."""
    return [
        grant.role
        for grant in grants
        if (grant.account, grant.place) == (need.account, need.where) and need.permission in ROLES.get(grant.role, ())
    ]


def grants(script: str) -> list[Grant]:
    """Return the roles that the commands of `script` grant, in page order."""
    with tempfile.TemporaryDirectory() as folder:
        recorded = Path(folder) / "recorded"
        stub = f'gcloud() {{ echo "gcloud $*" >>"{recorded}"; }}\nbq() {{ echo "bq $*" >>"{recorded}"; }}\n'
        subprocess.run(
            ["bash", "-eu"], input=stub + script, env={"PATH": "/usr/bin:/bin", "HOME": folder}, text=True, check=True
        )
        found = [_grant(line) for line in recorded.read_text().splitlines()]
    return [grant for grant in found if grant is not None]


def _grant(command: str) -> Grant | None:
    role = re.search(r"roles/([\w.]+)", command)
    if role is None or role[1].startswith("iam."):
        return None
    account = re.search(r"serviceAccount:(\w[\w-]*)@", command)
    where = DATASET if command.startswith("bq ") else PROJECT
    if bucket := re.search(r"gs://(\S+)", command):
        where = LOGS if bucket[1].endswith("-logs") else DATA
    condition = re.search(r"--condition=(?!None)(.*)", command)
    return Grant(account[1] if account else UPLOADERS, where, role[1], condition[1] if condition else "")


def page_script() -> str:
    """Return the commands of docs/deploy.md that set the names and grant the roles."""
    page = (ROOT / "docs" / "deploy.md").read_text()
    sections = [section for section in page.split("\n## ") if section.startswith(("1. ", "4. "))]
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", "\n".join(sections), re.MULTILINE | re.DOTALL))


def table() -> str:
    """Return every permission with the roles that grant it, in Markdown."""
    given = grants(page_script())
    lines = ["| account | where | permission | from |", "|---|---|---|---|"]
    for need in needs():
        roles = ", ".join(roles_for(need, given)) or "**none**"
        lines.append(f"| {need.account} | {need.where} | {need.permission} | {roles} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
