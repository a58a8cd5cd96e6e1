"""Wire faults: each fault at each request of a load, and what the store holds afterwards.

Only the sweep. `proxy.py` has the wire, `bench.py` the files and the counting.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from txn_assets.stores.errors import StoreError
from txn_assets.stores.store import Store
from txn_assets_tests.deployment import Deployment
from txn_assets_tests.faults.bench import KEYS, Content, Tally, difference, leftovers, make_load, open_stores
from txn_assets_tests.faults.proxy import HTTP_FAULTS, WIRE_FAULTS, Plan, proxies, through

REQUEST_SECONDS = {"gcs": 1.0, "bigquery": 10.0, "postgres": 1.0}
"""Request timeouts of the sinks under test, short enough that a timeout does not cost a minute."""


@contextmanager
def proxied_stores(deployment: Deployment) -> Iterator[tuple[dict[str, Store], dict[str, Plan]]]:
    """Yield the stores behind proxies, and the plan of each proxy."""
    with open_stores(deployment.config, retry_seconds=30.0) as direct, proxies(deployment.endpoints) as (wires, ends):
        stores = {
            name: replace(store, clients=through(store.clients, ends, seconds=REQUEST_SECONDS[KEYS[name]]))
            for name, store in direct.items()
        }
        yield stores, {name: wire.plan for name, wire in wires.items()}


def sweep(
    deployment: Deployment, store: str, versions: tuple[Content, Content], *, step: int, time_out_once: bool
) -> Iterator[Tally]:
    """Inject each fault at each `step`-th request of a replacing load.

    A BigQuery request that times out costs ten seconds. With `time_out_once` only the first request times out.
    """
    generation = versions[0].file.version.generation + 1
    with proxied_stores(deployment) as (stores, plans):
        sink, plan = stores[store], plans[store]
        make_load(sink, versions[1].at(generation), "first")
        for fault in WIRE_FAULTS if KEYS[store] == "postgres" else HTTP_FAULTS:
            tally = Tally(store, fault)
            at = 1
            while True:
                generation += 1
                content = versions[generation % 2].at(generation)
                plan.arm(fault, at)
                started = time.monotonic()
                note = ""
                try:
                    make_load(sink, content, f"{fault}-{at}")
                except StoreError as error:
                    note = f"{fault} at request {at}: {error}"
                seconds, happened = time.monotonic() - started, plan.happened
                plan.arm(None, 0)
                if not happened:
                    break
                tally.add(
                    difference(deployment, store, content), leftovers(deployment, store, content), note, seconds=seconds
                )
                if fault == "time-out" and time_out_once:
                    break
                at += step
            yield tally
