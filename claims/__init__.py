"""Small real experiments: every method against its own baseline.

A claim is a module of this package with a ``CLAIM``. ``python -m claims run NAME`` measures it,
writes ``claims/results/NAME.json`` and makes ``CLAIMS.md`` anew.
"""
