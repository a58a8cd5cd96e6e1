"""Your own assets and feeds. Dagster loads the definitions in every module and every `defs.yaml` below this folder."""
