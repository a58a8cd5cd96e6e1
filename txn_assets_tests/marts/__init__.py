"""Tests of the marts: in both engines, against recomputations in plain Python."""
