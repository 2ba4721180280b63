"""The WebAssembly runtime: runs in the workload's process, which ends with the workload."""
