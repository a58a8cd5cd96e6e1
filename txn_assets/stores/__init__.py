"""Statements, checks, errors and connections of the stores. No Dagster."""
