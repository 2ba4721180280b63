"""`enarx endorsements` as a person uses it, in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.endorsements import vendors as v

pytestmark = v.needs_vectors

WAIT = 60


@pytest.fixture
def vendor() -> Iterator[v.Vendors]:
    with v.running() as vendors:
        vendors.publish_snp(v.MILAN, "Milan")
        vendors.publish_dcap(v.TDX, "tdx", "platform")
        yield vendors


@pytest.fixture
def environ(vendor: v.Vendors, tmp_path: Path) -> dict[str, str]:
    return os.environ | {
        "ENARX_HOME": str(tmp_path / "home"),
        "ENARX_KDS_URL": vendor.url,
        "ENARX_PCS_URL": vendor.url,
    }


def enarx(environ: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "enarx.cli.main", *map(str, arguments)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )


def states(output: str) -> dict[str, str]:
    return {one["name"].split("/")[-1]: one["state"] for one in json.loads(output)}


def test_fetch_says_what_is_fresh_stale_and_missing(
    environ: dict[str, str], vendor: v.Vendors
) -> None:
    report = v.MILAN / "report.bin"
    done = enarx(environ, "endorsements", "fetch", "--json", report)
    # The sample's revocation list ended long ago.
    assert done.returncode == 2, done.stderr
    assert sorted(states(done.stdout).values()) == ["fresh", "fresh", "stale"]
    del vendor.pages["/vcek/v1/Milan/crl"]
    done = enarx(environ, "endorsements", "fetch", report, v.GENOA / "report.bin")
    assert done.returncode == 3
    assert "MISSING amd/Genoa/vcek-chain" in done.stdout
    assert "STALE   amd/Milan/vcek-crl" in done.stdout
    listed = enarx(environ, "endorsements", "ls")
    assert listed.returncode == 0
    assert "ok      amd/Milan/vcek-chain" in listed.stdout


def test_bundle_verifies_where_there_is_no_network(
    environ: dict[str, str], vendor: v.Vendors, tmp_path: Path
) -> None:
    evidence = {v.MILAN: "report.bin", v.TDX: "quote.bin"}
    files = [sample / name for sample, name in evidence.items()]
    bundle = tmp_path / "site.bundle"
    done = enarx(environ, "endorsements", "bundle", "-o", bundle, *files)
    assert done.returncode == 2, done.stderr
    again = enarx(environ, "endorsements", "bundle", "--offline", "-o", f"{bundle}.2", *files)
    assert again.returncode == 2
    assert bundle.read_bytes() == Path(f"{bundle}.2").read_bytes()
    away = environ | {"ENARX_HOME": str(tmp_path / "away"), "ENARX_KDS_URL": "https://127.0.0.1:9"}
    for sample, name in evidence.items():
        done = enarx(
            away, "verify", sample / name, "--with", f"bundle={bundle}", "--policy", "genuine",
            "--at", v.when(sample).isoformat(), "--json",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["verdict"] == "affirming"
    asked = vendor.total
    done = enarx(away, "endorsements", "import", bundle)
    assert done.returncode == 2, done.stderr
    done = enarx(away, "endorsements", "fetch", "--offline", v.MILAN / "report.bin")
    assert done.returncode == 2
    assert vendor.total == asked


def test_bundle_of_one_verification_is_imported_like_any_other(
    environ: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "one.bundle"
    preimage = tmp_path / "preimage"
    preimage.write_bytes(b"something else")
    judged = ("--policy", "genuine", "--at", v.when(v.MILAN).isoformat())
    done = enarx(
        environ, "verify", v.MILAN / "report.bin", "--with", f"vcek={v.MILAN / 'vcek.der'}",
        "--with", f"chain={v.MILAN / 'chain.pem'}", *judged, "--bundle", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    done = enarx(
        environ, "verify", v.MILAN / "report.bin", "--with", f"bundle={out}", *judged,
        "--with", f"host_data_preimage={preimage}", "--bundle", tmp_path / "more.bundle",
    )  # fmt: skip
    assert done.returncode == 3, "a pre-image that does not fit is no reason to pass over it"
    done = enarx(environ, "endorsements", "import", tmp_path / "more.bundle")
    assert done.returncode == 0, done.stdout
    assert "amd/Milan/vcek-chain" in done.stdout
    assert "not kept, because no vendor publishes it: host_data_preimage" in done.stderr
    done = enarx(environ, "endorsements", "ls")
    assert done.stdout.count("ok ") == 2


def test_bundle_with_something_missing_is_not_written_unless_asked(
    environ: dict[str, str], vendor: v.Vendors, tmp_path: Path
) -> None:
    del vendor.pages["/vcek/v1/Milan/crl"]
    out = tmp_path / "b"
    done = enarx(environ, "endorsements", "bundle", "-o", out, v.MILAN / "report.bin")
    assert done.returncode == 3
    assert "MISSING amd/Milan/vcek-crl" in done.stderr
    assert not out.exists()
    done = enarx(environ, "endorsements", "bundle", "--partial", "-o", out, v.MILAN / "report.bin")
    assert done.returncode == 3
    assert out.exists()


def test_vlek_given_by_the_provider_goes_into_the_bundle(
    environ: dict[str, str], vendor: v.Vendors, tmp_path: Path
) -> None:
    vendor.pages["/vlek/v1/Milan/cert_chain"] = v.Page((v.VLEK / "chain.pem").read_bytes())
    out = tmp_path / "b"
    done = enarx(
        environ, "endorsements", "bundle", "--partial", "-o", out, v.VLEK / "report.bin",
        "--vlek", v.VLEK / "vlek.der",
    )  # fmt: skip
    assert "2 items" in done.stdout, done.stderr
    done = enarx(
        environ, "verify", v.VLEK / "report.bin", "--with", f"bundle={out}", "--policy", "genuine",
        "--at", v.when(v.VLEK).isoformat(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fetch", "README.md"], "look like no evidence"),
        (["fetch", "--kds", "http://example.org", "R"], "http only for this same machine"),
        (["import", "README.md"], "bundle"),
        (["serve", "--listen", "0.0.0.0:0"], "without TLS"),
        (["serve", "--cert", "README.md"], "go together"),
        (["serve", "--cert", "README.md", "--key", "README.md"], "cannot use"),
        (["fetch", "--ca", "README.md", "R"], "CA certificates"),
        (["bundle", "-o", "/nonexistent/b", "--partial", "R"], "cannot write"),
        (["fetch", "--timeout", "0", "R"], "not a duration"),
    ],
)
def test_mistakes_are_said_without_a_traceback(
    environ: dict[str, str], arguments: list[str], says: str
) -> None:
    report = str(v.MILAN / "report.bin")
    done = enarx(environ, "endorsements", *[report if one == "R" else one for one in arguments])
    assert done.returncode == 125
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_answers_until_it_is_told_to_end(
    environ: dict[str, str], vendor: v.Vendors, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "enarx.cli.main", "endorsements", "serve", "--listen"]
    mirror = subprocess.Popen(
        [*command, "127.0.0.1:0"], env=environ, stdout=subprocess.PIPE, text=True
    )
    try:
        assert mirror.stdout is not None
        address = mirror.stdout.readline().removeprefix("mirror at ").strip()
        client = environ | {
            "ENARX_HOME": str(tmp_path / "client"),
            "ENARX_KDS_URL": address,
            "ENARX_PCS_URL": address,
        }
        done = enarx(client, "endorsements", "fetch", v.MILAN / "report.bin", v.TDX / "quote.bin")
        assert done.returncode == 2, done.stdout
        assert "MISSING" not in done.stdout
        mirror.send_signal(signal.SIGTERM)
        assert mirror.wait(WAIT) == 128 + signal.SIGTERM
    finally:
        mirror.kill()
        mirror.wait(WAIT)


def test_bundles_are_read_without_an_http_client(environ: dict[str, str]) -> None:
    code = (
        "import sys, enarx.endorsements; from enarx.endorsements import load_bundle, needs_of; "
        "sys.exit('httpx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=WAIT, check=False).returncode == 0
