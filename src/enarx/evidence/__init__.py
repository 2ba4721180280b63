"""What a TEE says: one module per technology, each a declarative layout that parses and packs."""
