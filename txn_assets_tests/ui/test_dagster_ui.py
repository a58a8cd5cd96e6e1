"""What a person sees in Dagster's UI while files arrive, fail, and are loaded again."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from txn_assets.definitions import defs
from txn_assets_tests.deployment import Deployment, make_file, make_row, many_rows
from txn_assets_tests.ui.conftest import Picture


def rows_of(page: Page) -> Locator:
    """Return the rows of the page's table, which has no roles."""
    return page.locator("[class*=VirtualizedTable_row]")


def row_of(page: Page, file: str) -> Locator:
    """Return the row of the newest run of `file` on the page of runs."""
    return rows_of(page).filter(has_text=f"partition: {file}").first


def open_graph(page: Page) -> None:
    """Open the asset graph with all groups expanded."""
    page.goto("/asset-groups")
    page.locator("svg").get_by_text("sinks", exact=True).first.wait_for()
    page.keyboard.press("Alt+E")
    page.locator("svg").get_by_text("gcs_raw", exact=True).first.wait_for()


def open_partition(page: Page, asset: str, file: str) -> None:
    """Open what the asset's page says about `file`."""
    page.goto(f"/assets/{asset}?view=partitions&partition={file}")


def checks_by_asset() -> dict[str, int]:
    """Return how many checks each asset has, by the definitions."""
    graph = defs().resolve_asset_graph()
    counts = {key.to_user_string(): 0 for key in graph.get_all_asset_keys()}
    for check in graph.asset_check_keys:
        counts[check.asset_key.to_user_string()] += 1
    return counts


def test_dropped_file_turns_green(page: Page, dev: Deployment, picture: Picture) -> None:
    """A file that is dropped into the bucket gets a run within a minute, and its rows show on the sink's page."""
    page.goto("/runs")
    # The sample, which lands when the local servers start.
    expect(row_of(page, "transactions.csv")).to_contain_text("Success")
    dev.land("orders.csv", make_file(*many_rows(40)))
    expect(row_of(page, "orders.csv")).to_contain_text("Success")
    picture(page, "runs")

    open_partition(page, "postgres_transactions", "orders.csv")
    expect(page.get_by_text("Latest materialization").first).to_be_visible()
    expect(page.get_by_text("dagster/partition_row_count").locator("xpath=ancestor::tr")).to_contain_text("40")
    assert dev.pg.execute("select count(*) from transactions where source_file = 'orders.csv'").fetchone() == (40,)


def test_graph_shows_every_asset_with_its_checks(page: Page, dev: Deployment, picture: Picture) -> None:
    """The graph shows each asset, and how many of its checks passed."""
    page.set_viewport_size({"width": 1700, "height": 1560})
    open_graph(page)
    page.get_by_role("img", name="zoom_in").click()
    for asset, checks in checks_by_asset().items():
        link = page.locator(f"svg a[href='/assets/{asset.replace('/', '%2F')}?view=checks']")
        if checks:
            expect(link).to_have_text(re.compile(rf"^\d+ / {checks} Passed$"))
        expect(page.locator("svg").get_by_text(asset, exact=True).first).to_be_visible()
    picture(page, "graph")


def test_bad_file_shows_a_red_check_and_its_reasons(page: Page, dev: Deployment, picture: Picture) -> None:
    """A file with too many bad rows fails its run; the check is red and names what is wrong, and nothing is loaded."""
    bad = (make_row(transaction_id="T002", product=""), make_row(transaction_id="T003", price="-1"))
    page.goto("/runs")
    dev.land("broken.csv", make_file(make_row(), *bad))
    expect(row_of(page, "broken.csv")).to_contain_text("Failure")

    page.goto("/assets/validated_transactions?view=checks&checkDetail=rejected_share_within_limit")
    expect(page.get_by_text("broken.csv").first).to_be_visible()
    expect(page.get_by_text("Evaluation result").locator("..")).to_contain_text("Failed")
    picture(page, "check-failed")

    page.goto("/assets/validated_transactions?view=events&partition=broken.csv")
    for reason in ("product: missing", "price: greater_than_equal", "quarantine/transactions/broken.csv/rejected.csv"):
        expect(page.get_by_text(reason).first).to_be_visible()
    picture(page, "rejected-rows")
    assert dev.pg.execute("select count(*) from transactions where source_file = 'broken.csv'").fetchone() == (0,)


def test_backfill_of_three_partitions(page: Page, dev: Deployment, picture: Picture) -> None:
    """Three files that are selected in the dialog are materialized again by a backfill, which counts them."""
    files = [f"2023-10-0{day}.csv" for day in (1, 2, 3)]
    page.goto("/runs")
    for day, file in enumerate(files, 1):
        dev.land(file, make_file(*many_rows(4, start=1000 * day, day=f"2023-10-0{day}")))
    for file in files:
        expect(row_of(page, file)).to_contain_text("Success")

    page.goto("/asset-groups")
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_text("Select a partition or create one").click()
    for file in files:
        page.get_by_text(file, exact=True).filter(visible=True).last.click()
    # Close the list, which covers the button.
    page.get_by_text("Launch runs to materialize").click()
    expect(page.get_by_text("3 partitions", exact=True)).to_be_visible()
    picture(page, "backfill-dialog")
    page.get_by_role("button", name="Launch backfill").click()

    page.goto("/runs?view=backfills")
    page.locator("a[href^='/runs/b/']").first.click()
    for asset in ("raw_csv", "bigquery_raw_transactions", "gcs_raw", "postgres_transactions"):
        expect(rows_of(page).filter(has_text=asset)).to_contain_text("100% completed3030")
    expect(page.get_by_text("Succeeded", exact=True).first).to_be_visible()
    picture(page, "backfill")


@pytest.fixture
def strict_table(dev: Deployment) -> Iterator[str]:
    """Add a column to the PostgreSQL table that refuses every row of the platform; yield what takes it away."""
    dev.pg.execute("alter table transactions add column channel text not null default 'shop'")
    dev.pg.execute("alter table transactions alter column channel drop default")
    yield "alter table transactions drop column channel"
    dev.pg.execute("alter table transactions drop column if exists channel")


def test_reexecution_from_failure(page: Page, dev: Deployment, strict_table: str, picture: Picture) -> None:
    """A run that failed at one store says why and what to do; re-executed from there, it loads that store alone."""
    page.goto("/runs")
    dev.land("held.csv", make_file(*many_rows(3, start=9000)))
    row = row_of(page, "held.csv")
    expect(row).to_contain_text("Failure")
    row.get_by_role("link", name="View", exact=True).click()
    message = 'null value in column "channel" of relation "transactions" violates not-null constraint'
    expect(page.get_by_text(message).first).to_be_visible()
    picture(page, "run-failed")

    dev.pg.execute(strict_table)
    failed = page.url
    page.get_by_role("button").filter(has=page.get_by_role("img", name="arrow_drop_down")).last.click()
    page.get_by_text("From failure", exact=True).click()
    page.wait_for_url(lambda url: url != failed)
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    expect(page.get_by_text("Materialized value postgres_transactions.").first).to_be_visible()
    expect(page.get_by_text("Materialized value gcs_raw.")).to_have_count(0)
    picture(page, "run-reexecuted")
    assert dev.pg.execute("select count(*) from transactions where source_file = 'held.csv'").fetchone() == (3,)
