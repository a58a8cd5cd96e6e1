"""Tests of the upload service, through HTTP against the real server."""
