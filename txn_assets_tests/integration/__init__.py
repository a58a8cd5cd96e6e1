"""Tests through the public entry points, against the embedded servers."""
