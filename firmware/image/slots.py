#!/usr/bin/python3 -I
"""What RAUC and the health check ask about the two slots, and how GRUB is told (grub.cfg).

Three words in GRUB's environment say everything::

    committed=A     the slot that was found healthy; it is started for ever, and never falls back
    trial=B         a slot that was just written; GRUB gives it eight starts to be committed
    tries=xx        how many of those are used up

As RAUC's custom backend (rauc(1)): `get-primary`, `set-primary SLOT`, `get-state SLOT`,
`set-state SLOT good|bad`. For ourselves: `trial` prints what is on trial; `machine` keeps this
machine's id; `forget PATH` overwrites and removes a file of the boot partition, such as a used
claim. The partition is writable only while
this program writes.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ESP = Path(os.environ.get("DIZAINE_ESP", "/boot/efi"))
ENVIRONMENT = "EFI/BOOT/grubenv"
MACHINE = "EFI/BOOT/machine.cfg"
HEADER = "# GRUB Environment Block\n"
SIZE = 1024
MOST_TRIES = 8
SLOTS = ("A", "B")


def read(path: Path) -> dict[str, str]:
    """Return GRUB's variables; a damaged block means what GRUB takes it for: slot A."""
    try:
        return read_block(path.read_bytes())
    except OSError:
        return read_block(b"")


def read_block(content: bytes) -> dict[str, str]:
    """Return the variables in a block."""
    text = content.decode("ascii", "replace")
    found = dict(line.split("=", 1) for line in text.splitlines()[1:] if "=" in line)
    committed = found.get("committed", "A")
    return {
        "committed": committed if committed in SLOTS else "A",
        "trial": found.get("trial", "") if found.get("trial") in SLOTS else "",
        "tries": found.get("tries", ""),
    }


def block(variables: dict[str, str]) -> bytes:
    """Return GRUB's environment block: two sectors, always as large."""
    text = HEADER + "".join(f"{name}={value}\n" for name, value in variables.items())
    return text.encode("ascii").ljust(SIZE, b"#")


def is_exhausted(variables: dict[str, str]) -> bool:
    """Return whether a slot on trial has used up its starts."""
    return len(variables["tries"]) >= MOST_TRIES


def primary(variables: dict[str, str]) -> str:
    """Return the slot that starts next."""
    trial = variables["trial"]
    return trial if trial and not is_exhausted(variables) else variables["committed"]


def with_primary(variables: dict[str, str], slot: str) -> dict[str, str]:
    """Put a slot on trial, or go back to the committed one."""
    on_trial = slot != variables["committed"]
    return {**variables, "trial": slot if on_trial else "", "tries": ""}


def with_state(variables: dict[str, str], slot: str, state: str) -> dict[str, str]:
    """Commit a slot, or give it up; the committed one is not given up while nothing replaces it."""
    if state == "good":
        return {"committed": slot, "trial": "", "tries": ""}
    if slot == variables["trial"]:
        return {**variables, "trial": "", "tries": ""}
    return variables


def state(variables: dict[str, str], slot: str) -> str:
    """Return whether a slot would be started."""
    return "good" if slot in (variables["committed"], primary(variables)) else "bad"


@contextlib.contextmanager
def writable(mount: Path) -> Iterator[None]:
    """Make the boot partition writable for a moment."""
    mounted = mount.is_mount()

    def remount(how: str) -> None:
        if mounted:
            command = ["/bin/mount", "-o", f"remount,{how}", str(mount)]
            subprocess.run(command, check=True)  # noqa: S603 - a program of the system

    remount("rw")
    try:
        yield
    finally:
        os.sync()
        remount("ro")


def write(path: Path, variables: dict[str, str]) -> None:
    """Write the block in place: two neighbouring sectors, and never a file that is cut short."""
    with writable(ESP):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, block(variables), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def keep_machine() -> None:
    """Keep the machine id that the first start made up: sealed keys open for no other.

    The root is read-only, so GRUB hands it to every later start.
    """
    path = ESP / MACHINE
    if path.exists():
        return
    machine = Path("/etc/machine-id").read_text().strip()
    with writable(ESP):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"set machine=systemd.machine_id={machine}\n")
            file.flush()
            os.fsync(file.fileno())


def forget(path: Path) -> None:
    """Overwrite a file and remove it."""
    if not path.is_file():
        return
    with writable(ESP):
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()


def main(words: list[str]) -> int:
    """Do what RAUC asks; return its exit status."""
    path = ESP / ENVIRONMENT
    if not path.parent.is_dir():
        print(f"no {path.parent}: the boot partition is not mounted", file=sys.stderr)  # noqa: T201
        return 1
    try:
        return answer(words, path)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"the boot partition cannot be written: {error}", file=sys.stderr)  # noqa: T201
        return 1


def answer(words: list[str], path: Path) -> int:
    """Answer one question about the slots, or change what GRUB reads."""
    variables = read(path)
    match words:
        case ["get-primary"]:
            print(primary(variables))  # noqa: T201 - the answer
        case ["set-primary", slot] if slot in SLOTS:
            write(path, with_primary(variables, slot))
        case ["get-state", slot] if slot in SLOTS:
            print(state(variables, slot))  # noqa: T201
        case ["set-state", slot, "good" | "bad" as new] if slot in SLOTS:
            changed = with_state(variables, slot, new)
            if changed != variables:
                write(path, changed)
            if new == "bad" and slot == variables["committed"]:
                # Whoever writes there next would leave nothing to go back to.
                print(f"slot {slot} is the committed one; commit the other first", file=sys.stderr)  # noqa: T201
                return 1
        case ["trial"]:
            print(variables["trial"])  # noqa: T201
        case ["machine"]:
            keep_machine()
        case ["forget", name]:
            forget(Path(name))
        case _:
            print(__doc__, file=sys.stderr)  # noqa: T201
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
