"""The sandbox, by its effects: what a process in a Keep sees and what it can do.

Three kinds of machine: a host that runs as root, one that does not, and one where user
namespaces are forbidden, too. A probe stands where the app loader stands.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from harness import Keep, Owner, Zygote

from conftest import KEEP_UID

_NOBODY = 65534
_PROBE = f"""
import sys; sys.path.append({str(Path(__file__).parent)!r})
import probe
from enarx.keep import apploader, zygote
apploader.main = probe.main
"""
_DROP_ROOT = f"""
import os
from enarx.keep import apploader
apploader.import_all()
if os.geteuid() == 0:
    from enarx.keep.sandbox import libc
    os.setgroups([]); os.setresgid(*[{_NOBODY}] * 3); os.setresuid(*[{_NOBODY}] * 3)
    libc.prctl(4, 1)  # as after the exec of a login: /proc/self is ours
uid, gid = os.getuid(), os.getgid()
"""
_FORBID_NAMESPACES = """
from enarx.keep.sandbox import credentials, libc, namespaces
libc.syscall(libc.UNSHARE, 0x10000000)
namespaces._write("/proc/self/setgroups", b"deny")
namespaces._write("/proc/self/uid_map", b"%d %d 1" % (uid, uid))
namespaces._write("/proc/self/gid_map", b"%d %d 1" % (gid, gid))
namespaces._write("/proc/sys/user/max_user_namespaces", b"0")
credentials.empty_bounding_set()
credentials.drop_capabilities()
"""
_NAMESPACES = {
    "mount-namespace",
    "pid-namespace",
    "net-namespace",
    "ipc-namespace",
    "uts-namespace",
}
_ALWAYS = {"no-capabilities", "no-new-privs", "not-dumpable", "landlock", "seccomp"}
_MACHINES = {
    "root": "",
    "unprivileged": _DROP_ROOT,
    "no-namespaces": _DROP_ROOT + _FORBID_NAMESPACES,
}


@dataclass(frozen=True)
class Probed:
    """What the probe told, and what the host sees of it in /proc."""

    machine: str
    facts: dict[str, Any]
    status: dict[str, str]

    @property
    def levels(self) -> set[str]:
        return set(self.facts["levels"])


@pytest.fixture(scope="module", params=list(_MACHINES))
def probed(
    request: pytest.FixtureRequest, owner: Owner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Probed]:
    machine: str = request.param
    if machine == "root" and os.geteuid() != 0:
        pytest.skip("this machine's tests do not run as root")
    code = _PROBE + _MACHINES[machine] + "zygote.main()"
    zygote = Zygote(code=f"exec({code!r})")
    try:
        uid = KEEP_UID if machine == "root" else 0
        keep = Keep.launch(zygote, owner, tmp_path_factory.mktemp("keep"), uid=uid)
        facts = json.loads(keep.control.recv(1 << 17))
        assert "error" not in facts, facts["error"]
        lines = Path(f"/proc/{keep.pid}/status").read_text().splitlines()
        status = {name: value.strip() for name, _, value in (s.partition(":") for s in lines)}
        yield Probed(machine, facts, status)
        keep.close()
    finally:
        zygote.close()


def test_levels_are_those_the_machine_gives(probed: Probed) -> None:
    expected = {
        "root": _NAMESPACES | _ALWAYS | {"empty-root", "own-uid"},
        "unprivileged": _NAMESPACES | _ALWAYS | {"empty-root", "user-namespace"},
        # The machine with forbidden namespaces is itself made by a user namespace.
        "no-namespaces": _ALWAYS | {"user-namespace"},
    }
    assert probed.levels - {"user-namespace"} == expected[probed.machine] - {"user-namespace"}


def test_missing_levels_are_named_with_their_reason(probed: Probed) -> None:
    expected = _NAMESPACES | {"empty-root"} if probed.machine == "no-namespaces" else set()
    assert set(probed.facts["missing"]) == expected
    assert all(probed.facts["missing"].values())


def test_root_is_empty_and_read_only(probed: Probed) -> None:
    if "empty-root" not in probed.levels:
        # Landlock alone is left: the names are there, the contents are not to be had.
        assert probed.facts["keep"]["read-/etc/passwd"] == "EACCES"
        return
    assert probed.facts["before"]["root"] == ["run"]
    assert probed.facts["before"]["write"] == "EROFS"
    assert probed.facts["keep"]["read-/etc/passwd"] == "ENOENT"


def test_no_file_can_be_listed(probed: Probed) -> None:
    assert probed.facts["keep"]["read-/"] == "EACCES"


def test_it_is_process_1_and_sees_no_other(probed: Probed) -> None:
    if "pid-namespace" in probed.levels:
        assert probed.facts["pid"] == 1
        assert probed.status["NSpid"].split()[-1] == "1"


def test_there_is_no_network(probed: Probed) -> None:
    if "net-namespace" in probed.levels:
        assert probed.facts["before"]["interfaces"] == ["lo"]
        assert probed.facts["before"]["connect"] == "ENETUNREACH"
    for family in ("AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"):
        assert probed.facts["keep"][f"socket-{family}"] == "EPERM"
    assert probed.facts["keep"]["connect"] == "EPERM"
    assert probed.facts["keep"]["bind"] == "EPERM"


def test_host_name_is_not_the_hosts(probed: Probed) -> None:
    if "uts-namespace" in probed.levels:
        assert probed.facts["before"]["hostname"] == "keep"


def test_user_id_is_the_keeps_own(probed: Probed) -> None:
    if "own-uid" in probed.levels:
        assert probed.status["Uid"].split() == [str(KEEP_UID)] * 4
        assert probed.status["Gid"].split() == [str(KEEP_UID)] * 4
        assert probed.status["Groups"] == ""


def test_no_capability_in_any_set(probed: Probed) -> None:
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(probed.status[name], 16) == 0, name
    assert probed.facts["before"]["bounding"] == []


def test_no_new_privileges(probed: Probed) -> None:
    assert probed.status["NoNewPrivs"] == "1"


def test_memory_cannot_be_read_by_the_same_user(probed: Probed) -> None:
    # A process that is not dumpable belongs to root in /proc, whoever it runs as.
    if probed.machine == "root":
        pid = next(iter(probed.status["Pid"].split()))
        assert os.stat(f"/proc/{pid}/mem").st_uid == 0


def test_seccomp_filters_are_on(probed: Probed) -> None:
    assert probed.status["Seccomp"] == "2"
    assert probed.status["Seccomp_filters"] == "2"  # the Keep's, and the app loader's own


@pytest.mark.parametrize("stage", ["keep", "app_loader", "WORKLOAD"])
@pytest.mark.parametrize(
    "call",
    [
        "execve",
        "ptrace",
        "mount",
        "umount2",
        "pivot_root",
        "chroot",
        "unshare-user",
        "setns",
        "clone-user-namespace",
        "setuid",
        "capset",
        "kill",
        "bpf",
        "keyctl",
        "perf_event_open",
        "io_uring_setup",
        "userfaultfd",
        "process_vm_readv",
        "process_vm_writev",
        "open_by_handle_at",
        "init_module",
        "kexec_load",
        "reboot",
        "personality",
        "swapon",
        "settimeofday",
        "connect",
        "bind",
        "socket-AF_INET",
        "socket-AF_UNIX",
        "socket-AF_NETLINK",
    ],
)
def test_system_call_is_refused_at_every_stage(probed: Probed, stage: str, call: str) -> None:
    facts = probed.facts["children"] if stage == "WORKLOAD" else probed.facts
    assert facts[stage][call] == "EPERM"


def test_clone3_is_answered_as_by_a_kernel_without_it(probed: Probed) -> None:
    assert probed.facts["keep"]["clone3"] == "ENOSYS"


def test_another_system_call_table_kills_the_process(probed: Probed) -> None:
    assert probed.facts["children"]["x32"] == -31  # SIGSYS


def test_only_the_first_stage_may_fork_and_make_memory_executable(probed: Probed) -> None:
    assert probed.facts["keep"]["fork"] == "allowed"
    assert probed.facts["keep"]["executable-memory"] == "allowed"
    for facts in (probed.facts["app_loader"], probed.facts["children"]["WORKLOAD"]):
        assert facts["fork"] == "EPERM"
        assert facts["executable-memory"] == "EPERM"
        assert facts["make-executable"] == "EPERM"


def test_workload_can_write_no_file(probed: Probed) -> None:
    assert probed.facts["children"]["WORKLOAD"]["write-/run"] in ("EPERM", "EACCES")


def test_resource_limits_are_in_force(probed: Probed) -> None:
    limits = probed.facts["limits"]
    assert limits["CORE"] == [0, 0]
    assert limits["MEMLOCK"] == [0, 0]
    assert limits["NOFILE"] == [512, 512]
    assert limits["NPROC"] == [256, 256]


def test_no_descriptor_but_standard_ones_and_the_three_it_was_given(probed: Probed) -> None:
    assert probed.facts["keep"]["descriptors"] == "0,1,2,3,4,5"


@pytest.fixture(params=["unprivileged", "no-namespaces"])
def weaker_zygote(request: pytest.FixtureRequest) -> Iterator[Zygote]:
    code = "from enarx.keep import apploader, zygote\n" + _MACHINES[request.param]
    started = Zygote(code=f"exec({code + 'zygote.main()'!r})")
    yield started
    started.close()


def test_a_keep_runs_its_workload_where_less_is_given(
    weaker_zygote: Zygote, owner: Owner, tmp_path: Path, example: Callable[[str], bytes]
) -> None:
    from enarx.wire.session import Exit, Workload

    tmp_path.chmod(0o755)
    keep = Keep.launch(weaker_zygote, owner, tmp_path)
    keep.boot()
    assert keep.certificate
    outcome = keep.run(Workload(name="secrets", module=example("secrets"), secrets={"FOO": b"bar"}))
    assert outcome.stdout == b"FOO=bar\n"
    assert outcome.end == Exit(code=0)
    assert keep.wait() == 0
    keep.close()
