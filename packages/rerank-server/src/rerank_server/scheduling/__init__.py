"""Which segments go through the network together, and the one thread that sends them there."""
