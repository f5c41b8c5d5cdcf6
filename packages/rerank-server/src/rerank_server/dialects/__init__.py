"""Dialects: the APIs of other vendors and our own, one a file.

Pure functions: a decoded body in, a ``ScoreRequest`` out; scores in, a body out.
"""
