"""Inside the TEE: app loader, identity, attesters, WebAssembly runtime. This is the trusted code."""
