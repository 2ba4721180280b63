"""The Keep that is a machine: what runs around the app loader where there is no other host.

`first` is PID 1 of the VM. It brings the machine up and closes it (`system`), starts the
zygote that process Keeps come from as well, and then stands between: for the keep loader it
relays the control socket over a virtio-serial port (`ports`), for the Keep it plays the
silicon's side of the report channel with what the machine attests with (`attester`). The
Keep in it is the same process in the same sandbox as on any other substrate.
"""
