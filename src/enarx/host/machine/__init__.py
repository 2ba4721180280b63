"""Keeps that are machines of their own: QEMU and a software TPM, seen from the keep loader.

machine.Machine   starts swtpm and QEMU for one Keep and takes both away again
  image           what is launched, and whether it is what it says
  accelerator     KVM where it works, the emulator where it does not
  tpm             swtpm: a TPM of its own for each Keep, with an endorsement key certificate
  qemu            the command line
  monitor         QEMU's control protocol, for one question
  relay           the control port as a packet socket, the Keep's port as the loader's
"""
