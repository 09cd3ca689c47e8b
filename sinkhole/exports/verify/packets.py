"""Lists of networks in the kernel's own packet filter: loaded in a network namespace of their own, where packets are
sent to addresses and seen to leave or not. Nothing of the machine's own filter is touched.

Run as a program (``python -m sinkhole.exports.verify.packets nft FILE``) it is what runs inside the namespace: it reads
addresses, one a line, and writes a line for each: ``drop`` or ``pass``.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING

from sinkhole.exports.verify import running
from sinkhole.exports.verify.running import EngineError

if TYPE_CHECKING:
    from sinkhole.exports.verify.asking import Question
    from sinkhole.exports.verify.engines import Setting

_PATIENCE = 120


def through_nft(setting: Setting, questions: Sequence[Question]) -> list[str]:
    """Which addresses packets reach with the rules of ``nft -f FILE``."""
    return _inside("nft", setting, questions)


def in_ipset(setting: Setting, questions: Sequence[Question]) -> list[str]:
    """Which addresses are in the sets that ``ipset restore`` makes."""
    return _inside("ipset", setting, questions)


def _inside(program: str, setting: Setting, questions: Sequence[Question]) -> list[str]:
    addresses = "\n".join(str(ip_address(question.addresses()[0])) for question in questions)
    unshare = [running.find("unshare") or "unshare", "-n" if os.geteuid() == 0 else "-rn"]
    command = [*unshare, sys.executable, "-m", "sinkhole.exports.verify.packets", program, str(setting.file)]
    ran = subprocess.run(command, input=addresses, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    if ran.returncode:
        raise EngineError(f"{program} says: {ran.stderr.strip()[-300:]}")
    return ran.stdout.split()


def main() -> None:
    program, file = sys.argv[1:]
    addresses = sys.stdin.read().split()
    path = running.find(program) or program
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if program == "nft":
        for family in ("-4", "-6"):
            subprocess.run(["ip", family, "route", "add", "default", "dev", "lo"], check=True)
        subprocess.run([path, "-f", file], check=True)
        print("\n".join("pass" if _leaves(address) else "drop" for address in addresses))
        return
    with open(file, "rb") as text:
        subprocess.run([path, "restore"], stdin=text, check=True)
    for address in addresses:
        name = f"sinkhole{ip_address(address).version}"
        ran = subprocess.run([path, "-q", "test", name, address], check=False, capture_output=True)
        print("pass" if ran.returncode else "drop")


def _leaves(address: str) -> bool:
    """Whether a packet to an address passes the output chain: one that is dropped there is EPERM."""
    family = socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto(b"", (address, 9))
        except PermissionError:
            return False
        except OSError:
            return True  # there is no way, but nobody forbade it
        return True


if __name__ == "__main__":
    main()
