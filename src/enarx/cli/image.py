"""`enarx image`: build the VM image, build it again to compare, and renew its lock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from enarx.cli.options import PATH
from enarx.errors import UsageError

if TYPE_CHECKING:
    from enarx.image.vm.build import Built
    from enarx.image.vm.layout import Image

EXIT_DIFFERENT = 1

_mirror_option = click.option(
    "--mirror",
    default="",
    metavar="URL",
    help="Debian mirror to fetch packages from; the one of this machine otherwise.",
)
_lock_option = click.option(
    "--lock",
    type=PATH,
    metavar="FILE",
    help="Lock file of packages; the one that came with enarx otherwise.",
)
_kernel_option = click.option(
    "--kernel",
    type=PATH,
    metavar="FILE",
    help="Kernel to boot instead of the locked one; it must have virtio and TPM built in.",
)


@click.group(
    epilog="""\b
Examples:
  enarx image build                   build it where Keeps look for it
  enarx image build --out image       build it into a directory
  enarx image reproduce image         build it again, and say what differs
  enarx image lock                    take the packages that the mirror has now"""
)
def image() -> None:
    """The image of Keeps that are virtual machines: kernel, initramfs, firmware."""


@image.command()
@click.option("--out", type=PATH, metavar="DIR", help="Where to; the cache directory otherwise.")
@_kernel_option
@_lock_option
@_mirror_option
def build(out: Path | None, kernel: Path | None, lock: Path | None, mirror: str) -> None:
    """Build the image of this installation, from packages pinned by their hashes.

    The same lock and the same installation give the same bytes, on any machine and in any
    directory. Packages are fetched by apt once and then cached; nothing is installed.
    """
    from enarx.client.image import image_dir
    from enarx.image.vm.build import save

    built = _build(kernel=kernel, lock=lock, mirror=mirror)
    directory = out or image_dir()
    save(built, directory)
    for line in _table(built.image):
        click.echo(line)
    click.echo(f"image in {directory}")


@image.command()
@click.argument("directory", type=PATH)
@_kernel_option
@_lock_option
@_mirror_option
def reproduce(directory: Path, kernel: Path | None, lock: Path | None, mirror: str) -> int:
    """Build the image in DIRECTORY again, and say whether it is the same.

    Exit code 0: identical, byte for byte. 1: it differs; the lines say in what.
    """
    from enarx.image.vm.build import differences
    from enarx.image.vm.layout import load_image

    there = load_image(directory, check=True)
    lines = differences(there, _build(kernel=kernel, lock=lock, mirror=mirror))
    if not lines:
        click.echo(f"identical: {directory} is what this installation builds")
        return 0
    for line in lines:
        click.echo(line)
    return EXIT_DIFFERENT


@image.command("lock")
@click.option("--out", type=PATH, metavar="FILE", help="Where to; stdout otherwise.")
@_mirror_option
def lock_command(out: Path | None, mirror: str) -> None:
    """Make a lock file of the packages that the mirror has now.

    Give it to `enarx image build --lock FILE`. A distribution keeps no old versions: when the
    lock that came with enarx names a package that is gone, this is the way on. An image that
    is built by another lock has other reference values.
    """
    from enarx.image.vm.fetch import relock
    from enarx.image.vm.lock import write_lock

    text = write_lock(relock(mirror=mirror))
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text)
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}", code="usage.out") from None


def _build(*, kernel: Path | None, lock: Path | None, mirror: str) -> Built:
    from enarx.client.paths import cache_dir
    from enarx.image.vm.build import build as build_image
    from enarx.image.vm.lock import LOCK, read_lock

    return build_image(
        read_lock(lock or LOCK),
        cache=cache_dir() / "packages",
        mirror=mirror,
        kernel=kernel,
        say=lambda text: click.echo(text, err=True),
    )


def _table(image: Image) -> list[str]:
    lines = [f"payload  sha256 {image.payload}", f"runtime  sha256 {image.runtime}", ""]
    for name, entry in image.files.items():
        lines.append(f"{name:<14}{entry.size / 1e6:6.1f} MB  sha256 {entry.sha256}")
    lines.append(f"kernel {image.kernel}, command line: {image.command_line}")
    return lines
