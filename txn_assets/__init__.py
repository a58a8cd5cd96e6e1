"""Transactions as assets."""
