"""Six assets that do nothing, run as the platform's are: what Dagster itself costs."""

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
