"""Systems, asked for their scores, each in a process of its own."""
