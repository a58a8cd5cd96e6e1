"""Open the marts of a configuration: one object for each engine, and one that exports them."""

from collections.abc import Mapping
from dataclasses import dataclass

from txn_assets.config import PipelineConfig
from txn_assets.marts.bigquery import BigQueryMarts
from txn_assets.marts.bigquery_sql import Names as BigQueryNames
from txn_assets.marts.exports import Exports
from txn_assets.marts.mart import Engine, Mart, Refresh, Rules
from txn_assets.marts.postgres import PostgresMarts
from txn_assets.marts.postgres_sql import Names as PostgresNames
from txn_assets.stores.bigquery.store import BigQueryStore
from txn_assets.stores.postgres.store import PostgresStore
from txn_assets.stores.services import Services


@dataclass(frozen=True)
class Marts:
    """The marts of the first feed."""

    postgres: PostgresMarts
    bigquery: BigQueryMarts
    exports: Exports

    def of(self, engine: Engine) -> PostgresMarts | BigQueryMarts:
        """Return the marts in `engine`."""
        return self.postgres if engine == "postgres" else self.bigquery

    def refresh(self, mart: Mart, *, force: bool = False) -> dict[Engine, Refresh]:
        """Compute `mart` again in each of its engines that is not up to date, or in all if `force`.

        Raises:
            StoreError: an engine cannot be read or written.
        """
        return {engine: self.of(engine).refresh(mart, force=force) for engine in mart.engines}

    def export(self, mart: Mart, refreshed: Mapping[Engine, Refresh]) -> list[str]:
        """Export `mart`, which was `refreshed`, from its first engine; return the addresses of the objects.

        Raises:
            StoreError: the engine cannot be read, or the bucket not written.
        """
        first = mart.engines[0]
        return self.exports.write(mart, refreshed[first].version, self.of(first).stream(mart))


def open_marts(services: Services, config: PipelineConfig) -> Marts:
    """Return the marts that are built from the tables of `services`, which are those of the first feed."""
    postgres, warehouse = services.stores["postgres"], services.stores["bigquery"]
    assert isinstance(postgres, PostgresStore)
    assert isinstance(warehouse, BigQueryStore)
    dataset, rules = config.data_mart.dataset, Rules.of(config)
    return Marts(
        postgres=PostgresMarts(store=postgres, names=PostgresNames(dataset, postgres.table), rules=rules),
        bigquery=BigQueryMarts(
            store=warehouse,
            names=BigQueryNames(dataset, warehouse.tables),
            location=config.data_warehouse.location,
            rules=rules,
        ),
        exports=Exports(
            clients=services.clients,
            bucket=config.data_lake.gcs_bucket,
            prefix=config.data_lake.marts,
            folder=services.home,
        ),
    )
