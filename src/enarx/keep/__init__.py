"""Inside the TEE: app loader, identity, attesters, WebAssembly runtime. The trusted code."""
