"""The local target: real GCS, BigQuery and PostgreSQL protocols on loopback ports, with nothing to install or start.

Read in this order:

    stack          what the rest of the platform uses: `ensure_up`, `down`, `status`, `Endpoints`, `Seed`
    provision      bucket, dataset, database and the landed files of a fresh stack
    exports        what `python -m txn_assets.local env` prints
    home, probes, processes, ports         shared by both sides, standard library only
    supervisor     the process that owns the servers; runs in `.venv-servers`
    servers, bigquery, postgres            how each server is prepared and started, standard library only
    gcs_shim       the loopback proxy that makes fake-gcs-server keep the promises of GCS; needs aiohttp

The modules of the supervisor and of the shim run in the interpreter of `.venv-servers`, which has no dependency of the
product. They import nothing of `txn_assets` but each other.
"""
