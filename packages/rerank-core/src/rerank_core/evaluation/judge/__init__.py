"""What scores are worth: measures, their certainty, a calibration."""
