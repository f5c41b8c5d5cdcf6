"""Which model to run, judged on a collection: what ``rerank eval`` does.

``evaluating`` is the way from a folder to a report. A collection is read (``layouts``), each question gets its
candidates (``candidates``, ``bm25``), each system scores them in a process of its own (``systems``, ``processes``,
``worker``) unless the ``cache`` knows what it says (``running``), the rankings are judged (``measures``,
``bootstrap``), and the figures are written down (``report``, ``table``, ``page``, ``charts``). ``platt`` fits a
calibration to the same scores.
"""
