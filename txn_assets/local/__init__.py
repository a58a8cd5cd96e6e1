"""The local target: real GCS, BigQuery and PostgreSQL protocols on loopback ports, with nothing to install or start.

Read in this order:

    stack          what the rest of the platform uses: `ensure_up`, `down`, `status`, `Endpoints`, `Seed`
    provision      bucket, dataset, database and the landed files of a fresh stack
    exports        what `python -m txn_assets.local env` prints
    tokens         bearer tokens for the upload service, which `txn token` prints
    home, probes, processes, ports         shared by both environments, standard library only
    in_container   the servers as a pod of a cluster without Google
    supervisor     the process that owns the servers; runs in `.venv-servers`
    servers, bigquery, postgres, issuer    how each server is prepared and started, standard library only
    gcs_shim       the loopback proxy that adds the GCS guarantees missing from fake-gcs-server; needs aiohttp

The supervisor and the shim run in the interpreter of `.venv-servers`, which has none of the package's dependencies.
Their modules import only each other from `txn_assets`.
"""
