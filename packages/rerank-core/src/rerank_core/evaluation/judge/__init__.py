"""Judges scores: measures, their confidence intervals, a calibration."""
