"""Suites that others can run on what they add: a map method, a tile source, a view."""
