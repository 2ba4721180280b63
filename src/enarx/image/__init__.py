"""What is launched: the payload and the runtime as manifests, and launch measurements of them."""
