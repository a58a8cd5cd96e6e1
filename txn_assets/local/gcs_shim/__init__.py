"""A loopback proxy that adds the GCS guarantees missing from fake-gcs-server.

    preconditions      ifGenerationMatch and its siblings, as pure functions
    uploads            upload bodies in progress, kept on disk, and the protocol of resumable uploads
    store              the folder of fake-gcs-server: valid names, and moving a finished upload into it
    routes             the paths of the requests that matter
    answers            errors and partial responses in the format of GCS
    locks              a lock per object
    backend            requests to fake-gcs-server, and the versions of its objects
    upload_requests    uploads, in one part or resumable
    proxy              the requests: which are checked, which are answered here, which are only forwarded

It runs in `.venv-servers`: `python -m txn_assets.local.gcs_shim`. See txn_assets/local/README.md for what it fixes and
what it leaves.
"""
