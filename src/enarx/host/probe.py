"""What this machine can do, really probed: opened, called, tried; never guessed from names.

Works everywhere; elsewhere than on Linux on x86-64 it says that there is nothing to probe.
"""

from __future__ import annotations

from enarx.errors import HostError
from enarx.host import require_linux
from enarx.host.finding import Finding, Machine, missing, present

_NEEDED = {
    "sgx": (("sgx",),),
    "snp": (("sev-snp", "kvm"), ("snp-guest",)),
    "tdx": (("tdx", "kvm"), ("tdx-guest",)),
}
"""For each technology the sets of capabilities that would do: as a host, or as its guest."""


def probe(machine: Machine | None = None) -> tuple[Finding, ...]:
    """Every capability, in the order in which `enarx platform info` shows them."""
    try:
        require_linux()
    except HostError as error:
        return (missing("platform", [error.message], error.hint),)
    from enarx.host import probe_sandbox, probe_tee, probe_vm

    machine = machine or Machine()
    checks = (
        probe_tee.sgx, probe_tee.sev, probe_tee.sev_es, probe_tee.sev_snp, probe_tee.snp_guest,
        probe_tee.tdx, probe_tee.tdx_guest, probe_tee.cca, probe_tee.configfs_tsm,
        probe_tee.kvm, probe_tee.tpm, probe_vm.machines,
        probe_sandbox.systemd, probe_sandbox.cgroups, probe_sandbox.namespaces,
        probe_sandbox.user_namespaces, probe_sandbox.landlock, probe_sandbox.seccomp,
        probe_sandbox.bubblewrap, probe_sandbox.memory,
    )  # fmt: skip
    return (present("platform", "Linux on x86-64"), *(check(machine) for check in checks))


def missing_for(technology: str, machine: Machine | None = None) -> tuple[str, ...]:
    """What this machine lacks for a technology; empty where it has it."""
    from enarx.host import probe_tee

    machine = machine or Machine()
    checks = {
        "sgx": probe_tee.sgx, "sev-snp": probe_tee.sev_snp, "snp-guest": probe_tee.snp_guest,
        "tdx": probe_tee.tdx, "tdx-guest": probe_tee.tdx_guest, "kvm": probe_tee.kvm,
    }  # fmt: skip
    lacking: tuple[str, ...] = ()
    for needed in _NEEDED[technology]:
        found = [checks[name](machine) for name in needed]
        lacking = tuple(f"{f.name}: {f.seen}" for f in found if not f.present)
        if not lacking:
            return ()
    first = [checks[name](machine) for name in _NEEDED[technology][0]]
    return tuple(f"{f.name}: {f.seen}" for f in first if not f.present)
