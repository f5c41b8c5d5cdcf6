"""Devices, features of the processor, memory, and the failures of a device."""
