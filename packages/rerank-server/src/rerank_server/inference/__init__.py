"""From pairs to scores: admission, a fair queue, a tokenize thread and a compute thread."""
