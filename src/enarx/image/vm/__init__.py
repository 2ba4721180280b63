"""The VM image: kernel, initramfs and firmware of a Keep that is a machine of its own.

    packages.toml -> lock -> fetch -> deb -> tree -> compiled -> newc -> build -> IMAGE/
                                                                      \\-> bom

An image is a function of two things: the packages that the lock file pins by SHA-256, and
the payload of this installation, file by file the one that process Keeps run. Nothing else
of the machine that builds goes into it; the interpreter that compiles and the program that
compresses come out of pinned packages, too.
"""
