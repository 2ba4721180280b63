"""A host that runs on this machine is used without being named. In a /run of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .command import COMMAND, SECONDS, example

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or os.geteuid() != 0,
        reason="mounts a /run of its own",
    ),
]

SCRIPT = """
set -e
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
trap '{enarx} host down >&2 || true' EXIT
{enarx} host up >&2
{enarx} run {hello} > {out}/hello.out 2> {out}/hello.err
{enarx} run --policy default {hello} 2> {out}/refused.err && exit 9 || test $? = 125
id=$({enarx} deploy --quiet {slow} -- 50 3)
{enarx} keep logs -f $id > {out}/logs.out
{enarx} keep ls --all > {out}/ls.out
{enarx} keep stop $id
{enarx} host down >&2
trap - EXIT
test ! -e /run/enarx
"""


def test_host_of_this_machine_is_found_used_and_taken_down(tmp_path: Path) -> None:
    script = SCRIPT.format(
        enarx=shlex.join(COMMAND), out=tmp_path, hello=example("hello"), slow=example("slow")
    )
    # The file system alone is its own: processes and sockets are seen as ever.
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        capture_output=True, timeout=2 * SECONDS, check=False,
    )  # fmt: skip
    if b"unshare failed" in done.stderr or b"mount:" in done.stderr:
        pytest.skip("this machine gives no mount namespace")
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "hello.out").read_text().startswith("Hello from a Keep!")
    report = (tmp_path / "hello.err").read_text().splitlines()
    assert report[0] == "SIMULATED SILICON: this protects nothing from the owner of this machine."
    assert "policy 'development'" in report[1]
    assert "SIMULATED silicon" in (tmp_path / "refused.err").read_text()
    assert (tmp_path / "logs.out").read_text() == "line 1\nline 2\nline 3\n"
    assert "slow.wasm" in (tmp_path / "ls.out").read_text()
