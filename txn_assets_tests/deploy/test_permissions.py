"""The roles of docs/deploy.md against the calls in the code."""

import pytest

from txn_assets.config import load_config
from txn_assets_tests.deploy.conftest import ROOT
from txn_assets_tests.deploy.permissions import (
    CODE,
    CONTROL,
    DATA,
    LOGS,
    ROLES,
    UPLOADERS,
    UPLOADS,
    Grant,
    grants,
    needs,
    page_script,
    roles_for,
    table,
    unknown,
)

PAGE = (ROOT / "docs" / "deploy.md").read_text()


@pytest.fixture(scope="module")
def given() -> list[Grant]:
    """Return the roles that the commands of the page grant."""
    return grants(page_script())


def test_permissions_of_each_call_are_listed() -> None:
    """Every request of the code and of Dagster's compute log manager is listed with the permissions that it needs."""
    assert unknown() == set()


def test_every_used_permission_is_granted(given: list[Grant]) -> None:
    """Every account has a role, on the bucket, dataset or project in question, for every permission that it uses."""
    assert [need for need in needs() if not roles_for(need, given)] == []


def test_missing_role_is_noticed(given: list[Grant]) -> None:
    """A missing legacyBucketReader on a bucket is noticed, because the compute log manager calls bucket.exists()."""
    for account, where in ((CODE, LOGS), (CONTROL, LOGS), (CODE, DATA)):
        fewer = [grant for grant in given if grant != Grant(account, where, "storage.legacyBucketReader")]
        (missing,) = [need for need in needs() if not roles_for(need, fewer)]
        assert (missing.account, missing.where, missing.permission) == (account, where, "storage.buckets.get")


def test_page_lists_every_permission_with_its_roles() -> None:
    """The table of the page is the one that `python -m txn_assets_tests.deploy.permissions` prints."""
    assert table() in PAGE


def test_uploaders_may_replace_files_only_below_the_landing_prefix(given: list[Grant]) -> None:
    """Uploaders may create and replace objects below the landing prefix, under a condition that names it."""
    (grant,) = [grant for grant in given if grant.account == UPLOADERS]
    landing = load_config(ROOT / "data" / "pipeline_config.yaml").data_lake.landing
    assert {"storage.objects.create", "storage.objects.delete"} <= ROLES[grant.role]
    assert grant.where == DATA
    assert f'resource.name.startsWith("projects/_/buckets/hijra-transactions/objects/{landing}/")' in grant.condition, (
        grant
    )


def test_upload_service_writes_only_files_and_keys(given: list[Grant]) -> None:
    """The upload service may create objects below the landing prefixes and for its keys, and change no table."""
    writing = {grant.place for grant in given if grant.account == UPLOADS and _writes(grant)}
    assert writing == {
        f"{DATA}, landing/transactions/",
        f"{DATA}, staging/transactions/uploads/",
    }


def _writes(grant: Grant) -> bool:
    verbs = {permission.rpartition(".")[2] for permission in ROLES[grant.role]}
    return bool(verbs & {"create", "update", "updateData", "delete"}) and grant.role != "bigquery.jobUser"
