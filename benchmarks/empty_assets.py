"""Six assets that do nothing, run the way the platform's assets run, to measure the cost of Dagster itself."""

import dagster as dg


def _empty(name: str, *upstream: str) -> dg.AssetsDefinition:
    @dg.asset(name=name, deps=upstream)
    def asset() -> None:
        pass

    return asset


defs = dg.Definitions(
    assets=[
        _empty("raw"),
        _empty("validated", "raw"),
        _empty("hashed", "validated"),
        _empty("lake", "hashed"),
        _empty("warehouse", "hashed"),
        _empty("mart", "hashed"),
    ],
    executor=dg.in_process_executor,
)
