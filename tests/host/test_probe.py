"""What the probes find: on this machine by their effects, on others by their kernels' files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from enarx import host
from enarx.host.finding import Machine, attempt
from enarx.host.probe import missing_for, probe
from enarx.host.probe_tee import (
    cca,
    configfs_tsm,
    kvm,
    sev,
    sev_es,
    sev_snp,
    sgx,
    snp_guest,
    tdx,
    tdx_guest,
    tpm,
)  # fmt: skip


def machine(root: Path, files: dict[str, str]) -> Machine:
    for name, content in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return Machine(root=root)


EPYC = {
    "/proc/cpuinfo": "processor : 0\nflags\t\t: fpu sev sev_es sev_snp\n",
    "/dev/sev": "",
    "/sys/module/kvm_amd/parameters/sev": "Y\n",
    "/sys/module/kvm_amd/parameters/sev_es": "Y\n",
    "/sys/module/kvm_amd/parameters/sev_snp": "Y\n",
}


def test_an_epyc_with_snp_is_recognised(tmp_path: Path) -> None:
    epyc = machine(tmp_path, EPYC)
    assert sev(epyc).present
    assert sev_es(epyc).present
    assert sev_snp(epyc).present
    assert not snp_guest(epyc).present
    assert not sgx(epyc).present


def test_snp_that_is_switched_off_in_the_module_is_missing_and_says_so(tmp_path: Path) -> None:
    finding = sev_snp(machine(tmp_path, EPYC | {"/sys/module/kvm_amd/parameters/sev_snp": "N\n"}))
    assert not finding.present
    assert finding.seen == "/sys/module/kvm_amd/parameters/sev_snp is N"
    assert "firmware" in finding.remedy


def test_sgx_needs_flag_and_device(tmp_path: Path) -> None:
    both = {"/proc/cpuinfo": "flags : sgx sgx_lc\n", "/dev/sgx_enclave": ""}
    assert sgx(machine(tmp_path / "both", both)).present
    one = sgx(machine(tmp_path / "one", {"/proc/cpuinfo": "flags : sgx\n"}))
    assert not one.present
    assert one.seen == "no /dev/sgx_enclave"


def test_tdx_as_host_and_as_guest(tmp_path: Path) -> None:
    server = machine(
        tmp_path / "host",
        {
            "/proc/cpuinfo": "flags : tdx_host_platform\n",
            "/sys/module/kvm_intel/parameters/tdx": "Y",
        },
    )
    assert tdx(server).present
    assert not tdx_guest(server).present
    guest = machine(
        tmp_path / "guest", {"/proc/cpuinfo": "flags : tdx_guest\n", "/dev/tdx_guest": ""}
    )
    assert tdx_guest(guest).present
    assert missing_for("tdx", guest) == ()


def test_guests_and_their_interfaces(tmp_path: Path) -> None:
    guest = machine(
        tmp_path,
        {
            "/dev/sev-guest": "",
            "/sys/kernel/config/tsm/report/.keep": "",
            "/dev/tpmrm0": "",
            "/sys/class/tpm/tpm0/tpm_version_major": "2\n",
        },
    )
    assert snp_guest(guest).present
    assert configfs_tsm(guest).present
    assert tpm(guest).present
    assert missing_for("snp", guest) == ()


def test_an_old_tpm_is_missing_and_its_version_seen(tmp_path: Path) -> None:
    finding = tpm(machine(tmp_path, {"/sys/class/tpm/tpm0/tpm_version_major": "1"}))
    assert (finding.present, finding.seen) == (False, "a TPM of version 1")


def test_cca_on_an_arm_machine(tmp_path: Path) -> None:
    realm = {"/proc/cpuinfo": "Features : fp\n", "/sys/module/arm_cca_guest/version": ""}
    assert cca(machine(tmp_path / "realm", realm)).present
    assert not cca(machine(tmp_path / "plain", {"/proc/cpuinfo": "Features : fp\n"})).present


def test_a_file_that_is_no_kvm_is_not_believed(tmp_path: Path) -> None:
    finding = kvm(machine(tmp_path, {"/dev/kvm": "not a device"}))
    assert not finding.present
    assert "makes no VM" in finding.seen


def test_an_empty_machine_has_nothing_and_every_finding_says_how_to_get_it(
    tmp_path: Path,
) -> None:
    nothing = Machine(root=tmp_path)
    for check in (sgx, sev, sev_es, sev_snp, snp_guest, tdx, tdx_guest, cca, configfs_tsm, tpm):
        finding = check(nothing)
        assert not finding.present
        assert finding.seen
        assert finding.remedy


def test_this_machine_is_probed_without_an_error() -> None:
    findings = {finding.name: finding for finding in probe()}
    assert findings["platform"].present
    assert findings["memory"].present
    assert all(finding.seen for finding in findings.values())
    assert all(finding.remedy for finding in findings.values() if not finding.present)


def test_kvm_is_present_exactly_where_a_vm_can_be_made() -> None:
    finding = kvm(Machine())
    if not os.path.exists("/dev/kvm"):
        assert not finding.present
    else:
        assert finding.present or "makes no VM" in finding.seen or "opened" in finding.seen


def test_trials_leave_this_process_as_it_was() -> None:
    def state() -> tuple[str, bool]:
        seccomp = "Seccomp:\t0" in Path("/proc/self/status").read_text()
        return os.readlink("/proc/self/ns/user"), seccomp

    before = state()
    attempt("user-namespace")
    attempt("seccomp")
    assert state() == before


@pytest.mark.parametrize("system", ["Darwin", "Windows"])
def test_elsewhere_it_says_what_a_host_needs(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr(host.sys, "platform", system.lower())
    monkeypatch.setattr(host.platform, "system", lambda: system)
    (finding,) = probe()
    assert not finding.present
    assert "Linux on x86-64" in finding.seen
    assert system in finding.seen
