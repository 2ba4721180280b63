"""Probes of confidential-computing hardware: what processor, kernel and firmware offer.

Sources: Linux Documentation/arch/x86/sgx.rst, virt/coco/sev-guest.rst, virt/kvm/x86/
amd-memory-encryption.rst, arch/x86/tdx.rst, ABI/testing/configfs-tsm-report.
"""

from __future__ import annotations

import fcntl
import os

from enarx.host.finding import Finding, Machine, missing, present

_KVM_GET_API_VERSION, _KVM_CREATE_VM = 0xAE00, 0xAE01
_KVM_API_VERSION = 12
"""linux/kvm.h; the version has been 12 since 2007."""


def sgx(machine: Machine) -> Finding:
    """Intel SGX enclaves."""
    lacking = []
    if "sgx" not in machine.cpu_flags():
        lacking.append("the processor does not show the flag sgx")
    if not machine.exists("/dev/sgx_enclave"):
        lacking.append("no /dev/sgx_enclave")
    if lacking:
        return missing(
            "sgx", lacking,
            "A server with Intel SGX switched on in its firmware, and Linux 5.11 or newer.",
        )  # fmt: skip
    launch_control = "with" if "sgx_lc" in machine.cpu_flags() else "without"
    return present("sgx", "flag sgx", f"{launch_control} flexible launch control")


def sev(machine: Machine) -> Finding:
    """AMD SEV on a host."""
    return _amd(machine, "sev", "sev", "An AMD EPYC server with SEV switched on in its firmware.")


def sev_es(machine: Machine) -> Finding:
    """AMD SEV-ES on a host."""
    remedy = "An AMD EPYC 7002 or newer with SEV-ES switched on in its firmware."
    return _amd(machine, "sev-es", "sev_es", remedy)


def sev_snp(machine: Machine) -> Finding:
    """AMD SEV-SNP on a host."""
    remedy = "An AMD EPYC 7003 or newer with SNP switched on in its firmware, and Linux 6.11."
    return _amd(machine, "sev-snp", "sev_snp", remedy)


def _amd(machine: Machine, name: str, flag: str, remedy: str) -> Finding:
    parameter = f"/sys/module/kvm_amd/parameters/{flag}"
    lacking = []
    if flag not in machine.cpu_flags():
        lacking.append(f"the processor does not show the flag {flag}")
    if not machine.switched_on(parameter):
        lacking.append(f"{parameter} is {machine.read(parameter) or 'not there'}")
    if not machine.exists("/dev/sev"):
        lacking.append("no /dev/sev")
    if lacking:
        return missing(name, lacking, remedy)
    return present(name, f"flag {flag}", f"{parameter} is on", "/dev/sev")


def snp_guest(machine: Machine) -> Finding:
    """Being an SNP guest."""
    if machine.exists("/dev/sev-guest"):
        return present("snp-guest", "/dev/sev-guest")
    return missing(
        "snp-guest", ["no /dev/sev-guest"],
        "A confidential VM on AMD SEV-SNP, with the kernel module sev-guest.",
    )  # fmt: skip


def tdx(machine: Machine) -> Finding:
    """Intel TDX on a host."""
    parameter = "/sys/module/kvm_intel/parameters/tdx"
    lacking = []
    if "tdx_host_platform" not in machine.cpu_flags():
        lacking.append("the processor does not show the flag tdx_host_platform")
    if not machine.switched_on(parameter):
        lacking.append(f"{parameter} is {machine.read(parameter) or 'not there'}")
    if lacking:
        return missing(
            "tdx", lacking,
            "An Intel Xeon with TDX switched on in its firmware, Linux 6.16 and kvm_intel.tdx=1.",
        )  # fmt: skip
    return present("tdx", "flag tdx_host_platform", f"{parameter} is on")


def tdx_guest(machine: Machine) -> Finding:
    """Being a TDX guest."""
    flag = "tdx_guest" in machine.cpu_flags()
    if flag and machine.exists("/dev/tdx_guest"):
        return present("tdx-guest", "flag tdx_guest", "/dev/tdx_guest")
    lacking = [] if flag else ["the processor does not show the flag tdx_guest"]
    if not machine.exists("/dev/tdx_guest"):
        lacking.append("no /dev/tdx_guest")
    return missing(
        "tdx-guest", lacking, "A confidential VM on Intel TDX, with the kernel module tdx-guest."
    )


def cca(machine: Machine) -> Finding:
    """Being an Arm CCA realm."""
    if machine.exists("/sys/module/arm_cca_guest"):
        return present("cca", "module arm_cca_guest")
    if "Features" not in machine.read("/proc/cpuinfo"):
        return missing("cca", ["not an Arm processor"], "An Arm v9 machine with CCA.")
    return missing("cca", ["no module arm_cca_guest"], "A realm on an Arm machine with CCA.")


def configfs_tsm(machine: Machine) -> Finding:
    """The kernel's common interface to evidence."""
    if machine.exists("/sys/kernel/config/tsm/report"):
        return present("configfs-tsm", "/sys/kernel/config/tsm/report")
    return missing(
        "configfs-tsm", ["no /sys/kernel/config/tsm/report"],
        "Inside a confidential VM: Linux 6.7 or newer with its guest module; configfs mounted.",
    )  # fmt: skip


def tpm(machine: Machine) -> Finding:
    """A TPM 2.0."""
    version = machine.read("/sys/class/tpm/tpm0/tpm_version_major")
    if machine.exists("/dev/tpmrm0") and version == "2":
        return present("tpm", "/dev/tpmrm0, version 2")
    seen = f"a TPM of version {version}" if version else "no /dev/tpmrm0"
    return missing("tpm", [seen], "A TPM 2.0 switched on in the firmware, or a virtual one.")


def kvm(machine: Machine) -> Finding:
    """Hardware virtualisation: a VM is really made."""
    remedy = "A processor with virtualisation, the kvm module, and permission for /dev/kvm."
    path = machine.root / "dev/kvm"
    if not path.exists():
        return missing("kvm", ["no /dev/kvm"], remedy)
    try:
        device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return missing("kvm", [f"/dev/kvm cannot be opened: {error.strerror}"], remedy)
    try:
        version = fcntl.ioctl(device, _KVM_GET_API_VERSION, 0)
        if version != _KVM_API_VERSION:
            return missing("kvm", [f"/dev/kvm speaks version {version}"], remedy)
        os.close(fcntl.ioctl(device, _KVM_CREATE_VM, 0))
    except OSError as error:
        return missing("kvm", [f"/dev/kvm is there but makes no VM: {error.strerror}"], remedy)
    finally:
        os.close(device)
    return present("kvm", "/dev/kvm made a VM")
