"""Transaction CSV files as Dagster assets: validated, hashed, and loaded exactly once into three stores.

Folders, each importing only from those below it:

    definitions        the code location
    cli, run, job      the `txn` command, the load of one file, and a run of the job in this process
    defs               the Dagster shell, the only folder that imports dagster
    local              the embedded servers of the local target
    stores             the stores and their clients, one module per topic
    rows, config       from bytes to hashed rows; the configuration
    files              which files there are and what to do with them
"""
