"""Reception and decoding of request bodies, in bounded memory and short steps."""
