"""The resources of the machine, or of the container that this process runs in."""
