"""Compares models on a judged collection, for ``rerank eval``.

``evaluate`` is the way from a folder to a report. ``data``: a collection is read and each question gets its
candidates. ``run``: each system scores them in a process of its own, unless a cache has its scores. ``judge``: the
rankings are measured, and a calibration is fitted to the same scores. ``report``: the figures as JSON, a table and a
page.
"""
