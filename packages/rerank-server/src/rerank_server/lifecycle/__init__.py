"""The server's states, from the loading of the model to its end."""
