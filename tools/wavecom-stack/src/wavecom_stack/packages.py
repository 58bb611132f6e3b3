"""Installing what only the distribution's package manager has."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from wavecom_stack.errors import StackError

# The packages' own services stay off: a broker of the machine on port 5672 is for its owner to want. The policy file
# is Debian's way to say so, also where there is no init system; one that is there already is left alone.
_SCRIPT: Final = """\
set -eu
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  trap 'exit 130' INT TERM
  printf '#!/bin/sh\\nexit 101\\n' > $policy
  chmod 755 $policy
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"
if [ -d /run/systemd/system ]; then
  for package in "$@"; do
    if systemctl cat --quiet "$package" >/dev/null 2>&1; then systemctl disable --quiet "$package"; fi
  done
fi
"""


def install(packages: Sequence[str], log: Path, say: Callable[[str], None]) -> None:
    """Install distribution packages without starting their services.

    Args:
        packages: names known to apt.
        log: where the package manager's output goes.
        say: told what happens.

    Raises:
        StackError: there is no apt, no right to use it, or it failed; says what to run or read.
    """
    command = command_for(
        packages,
        has_apt=shutil.which("apt-get") is not None,
        is_root=os.geteuid() == 0,
        has_sudo=_has_passwordless_sudo,
    )
    say(f"Installing {' and '.join(packages)} with apt-get (about 20 s) ...")
    began = time.monotonic()
    with log.open("wb") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        raise StackError(
            f"apt-get could not install {' '.join(packages)}. The end of {log}:",
            *log.read_text(errors="replace").splitlines()[-8:],
        )
    say(f"  done in {time.monotonic() - began:.0f} s")


def command_for(
    packages: Sequence[str], *, has_apt: bool, is_root: bool, has_sudo: Callable[[], bool]
) -> Sequence[str]:
    """The command that installs `packages` for this user.

    Raises:
        StackError: there is none; says what to do instead.
    """
    script = ["sh", "-c", _SCRIPT, "install-packages", *packages]
    otherwise = (
        "or set WAVECOM_RABBITMQ_URL and WAVECOM_MONGODB_URL to servers you have,",
        "or start a Docker engine with the compose plugin.",
    )
    if not has_apt:
        raise StackError(
            f"Missing: {', '.join(packages)}; and there is no apt-get here.",
            "Install RabbitMQ 3.10 or newer and MongoDB 6 or newer,",
            *otherwise,
        )
    if is_root:
        return script
    if has_sudo():
        return ["sudo", "-n", *script]
    raise StackError(
        f"Missing: {', '.join(packages)}; installing needs root. Run this once:",
        f"sudo apt-get install -y {' '.join(packages)}",
        *otherwise,
    )


def _has_passwordless_sudo() -> bool:
    if shutil.which("sudo") is None:
        return False
    return subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
