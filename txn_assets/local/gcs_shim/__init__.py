"""A loopback proxy in front of fake-gcs-server that keeps the promises of GCS which that server does not.

    preconditions    ifGenerationMatch and its kin, as pure functions
    uploads          bodies on their way, kept on disk, and the protocol of resumable uploads
    store            the folder of fake-gcs-server: which names it can hold, and moving a finished upload into it
    routes           the paths of the requests that matter
    answers          errors and partial answers in the forms of GCS
    proxy            the requests: which are checked, which are answered here, which only pass through

It runs in `.venv-servers`: `python -m txn_assets.local.gcs_shim`. What it mends, and what it leaves, is listed in
txn_assets/local/README.md.
"""
