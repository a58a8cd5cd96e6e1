"""The runs that load files, as Dagster's web server knows them: what became of a file, and loading it again."""
