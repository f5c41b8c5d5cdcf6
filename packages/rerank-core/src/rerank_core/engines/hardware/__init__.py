"""Devices, what the processor can do, memory, and what a device's failures mean."""
