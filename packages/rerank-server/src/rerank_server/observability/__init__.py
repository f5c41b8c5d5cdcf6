"""Metrics, log lines and traces, all from one record of each request."""
