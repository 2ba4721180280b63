"""What a Keep is made of, measured from files: payload, runtime, launch measurements."""
