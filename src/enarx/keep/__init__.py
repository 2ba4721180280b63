"""What runs inside the TEE: zygote, app loader, sandbox and WebAssembly runtime."""
