"""The local target: real servers for GCS, BigQuery and PostgreSQL as processes of this machine.

    stack          starts them once for everybody, stops them, says how they are
    supervisor     the process that owns the servers; runs in .venv-servers, with nothing but the standard library
    gcs_shim       what the embedded GCS server lacks; runs in .venv-servers
    seeding        the bucket, the dataset, the database, and the files of `data/`

Nothing here is part of the production image. Documented in docs/architecture.md.
"""
