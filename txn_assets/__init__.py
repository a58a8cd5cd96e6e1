"""Transaction CSV files as Dagster assets: validated, hashed, and loaded exactly once into three stores.

The layers, imports going only downwards:

    definitions                                   assembles everything below
    assets, checks, sensors, jobs, partitions     the Dagster shell
    resources, io_managers                        one store each, with the real client libraries
    local                                         the embedded servers of the local target
    config, transaction, csv_blocks, validation,  the core: no Dagster, no cloud client
    hashing, quarantine, staged, ledger
"""
