"""Messages between the parties: what may be said, how it is encoded, and how large it may be."""
