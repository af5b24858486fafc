"""A device in qemu, and what its site offers it: a time server, and https to the city's server."""

import base64
import contextlib
import json
import socket
import ssl
import struct
import subprocess
import threading
import time
from pathlib import Path

from deploy.local.processes import free_port

_SEALS = {
    "5a1c6a86df9d4096b1d5a65e0862f19a": "this machine",
    "93a894094874449090caf2fc93cab553": "this machine and its TPM",
}
"""Kinds of credentials, of systemd's creds-util.h."""
HOST = "10.0.2.2"
"""This machine, as the device sees it."""
_EPOCH_1900 = 2_208_988_800
_VIRTUAL = {
    "amd64": (
        "qemu-system-x86_64", "q35", "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt",
        "/usr/share/OVMF/OVMF_{}_4M.fd",
    ),
    "arm64": (
        "qemu-system-aarch64", "virt", "cortex-a72", "/usr/share/AAVMF/AAVMF_{}.fd",
    ),
}  # fmt: skip
"""Program, board, processor, EFI firmware. The PC has a TPM, as PCs do; the ARM board has none. Its
processor is the least that Python's wheels are built for (x86-64-v2)."""


class Machine:
    """One device: a disk that stays, a console, and power that can be cut."""

    def __init__(self, folder: Path, disk: Path, arch: str) -> None:
        self.folder = folder
        self.disk = disk
        self._arch = arch
        self.console = folder / "console.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._vars = folder / "vars.fd"
        self._monitor = folder / "monitor"
        self.page_port = free_port()
        """Where this machine's browser finds the device's installation page."""
        self._read = 0

    def power_on(self, *sticks: Path) -> None:
        """Start it, with these sticks in it."""
        program, board, processor, efi = _VIRTUAL[self._arch]
        if not self._vars.exists():
            self._vars.write_bytes(Path(efi.format("VARS")).read_bytes())
        code = efi.format("CODE")
        command = [
            # Two sockets. The kernel changes its own code while it runs, and qemu before 8.1 may
            # let one processor run what the other has replaced ("Oops: int3"). Seen most where
            # the clock is declared stable, which it never is of two sockets; what is left
            # restarts by itself, as any kernel of ours that stumbles.
            program, "-machine", board, "-accel", "tcg,thread=multi", "-cpu", processor,
            "-smp", "2,sockets=2", "-m", "1024", "-nographic", "-no-user-config", "-nodefaults",
            "-serial", f"file:{self.console}.now",
            "-drive", f"if=pflash,format=raw,readonly=on,file={code}",
            "-drive", f"if=pflash,format=raw,file={self._vars}",
            "-drive", f"file={self.disk},format=raw,if=virtio,cache=writethrough",
            "-device", "i6300esb", "-action", "watchdog=reset", "-device", "virtio-rng-pci",
            "-device", "qemu-xhci",
            "-nic", f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{self.page_port}-:8081",
            "-qmp", f"unix:{self._monitor},server=on,wait=off",
        ]  # fmt: skip
        if self._arch == "amd64":
            command += self._tpm()
        for stick in sticks:
            command += ["-drive", f"file={stick},format=raw,if=virtio"]
        self._read = 0
        Path(f"{self.console}.now").unlink(missing_ok=True)
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def _tpm(self) -> list[str]:
        """Start its TPM, whose secrets stay in a folder of this machine's."""
        state, link = self.folder / "tpm", self.folder / "tpm.sock"
        state.mkdir(exist_ok=True)
        subprocess.run(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--terminate", "--daemon",
             "--ctrl", f"type=unixio,path={link}"],
            check=True,
        )  # fmt: skip
        return [
            "-chardev", f"socket,id=tpm,path={link}", "-tpmdev", "emulator,id=tpm0,chardev=tpm",
            "-device", "tpm-crb,tpmdev=tpm0",
        ]  # fmt: skip

    def press_button(self) -> None:
        """Press its power button, as somebody does who stands beside it."""
        self._order({"execute": "system_powerdown"})

    def plug_in(self, stick: Path) -> None:
        """Put a USB stick in while it runs."""
        name = f"stick{stick.stem}"
        node = {"node-name": name, "driver": "file", "filename": str(stick)}
        device = {"driver": "usb-storage", "id": f"{name}-usb", "drive": name}
        self._order(
            {"execute": "blockdev-add", "arguments": node},
            {"execute": "device_add", "arguments": device},
        )

    def _order(self, *orders: dict[str, object]) -> None:
        """Give the machine orders (QMP), and see that it takes them."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.connect(str(self._monitor))
            with link.makefile("rwb") as said:
                said.readline()
                for order in ({"execute": "qmp_capabilities"}, *orders):
                    said.write(json.dumps(order).encode() + b"\n")
                    said.flush()
                    while "return" not in (answer := json.loads(said.readline())):
                        assert "error" not in answer, answer

    def power_off(self) -> None:
        """Cut the power."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        with self.console.open("ab") as out:
            out.write(b"\n##### power cut\n" + self._now())

    def _now(self) -> bytes:
        path = Path(f"{self.console}.now")
        return path.read_bytes() if path.exists() else b""

    def wait_for(self, text: str, within_s: float) -> str:
        """Wait until the console says something new; return that line."""
        deadline = time.monotonic() + within_s
        wanted = text.encode()
        while True:
            said = self._now()
            found = said.find(wanted, self._read)
            if found >= 0:
                end = said.find(b"\n", found)
                if end >= 0:
                    self._read = end
                    return said[found:end].decode("ascii", "replace").strip()
            if self._process is not None and self._process.poll() is not None:
                raise AssertionError(f"qemu ended: {self._process.stderr.read()!r}")  # type: ignore[union-attr]
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{text!r} did not come within {within_s:g} s; see {self.console}.now"
                )
            time.sleep(0.2)


class TimeServer:
    """Answers SNTP questions with this machine's clock."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 123))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            asked, address = self._socket.recvfrom(512)
            now = time.time() + _EPOCH_1900
            stamp = struct.pack("!II", int(now), int((now % 1) * 2**32))
            head = struct.pack("!BBbb", 0x24, 1, 0, -20) + struct.pack("!II", 0, 0) + b"TEST"
            self._socket.sendto(head + stamp + asked[40:48] + stamp + stamp, address)


class TlsFront:
    """Puts TLS before a port of this machine."""

    def __init__(self, certificate: Path, key: Path, behind: int) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._behind = behind
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            link, _ = self._listener.accept()
            threading.Thread(target=self._pass, args=[link], daemon=True).start()

    def _pass(self, link: socket.socket) -> None:
        with contextlib.suppress(OSError), link:
            near = self._context.wrap_socket(link, server_side=True)
            far = socket.create_connection(("127.0.0.1", self._behind))

            def back() -> None:
                with contextlib.suppress(OSError):
                    while data := far.recv(65536):
                        near.sendall(data)
                    near.shutdown(socket.SHUT_RDWR)

            threading.Thread(target=back, daemon=True).start()
            while data := near.recv(65536):
                far.sendall(data)


def put(disk: Path, name: str, content: bytes, folder: Path) -> None:
    """Write a file into the boot partition of a disk or its image."""
    source = folder / "put"
    source.write_bytes(content)
    subprocess.run(["mcopy", "-o", "-i", f"{disk}@@1M", str(source), f"::{name}"], check=True)


def put_data(disk: Path, name: str, source: Path) -> None:
    """Write a file into the data partition, as the technician's tool does not."""
    start, size = _place(disk, "data")
    extracted = source.with_suffix(".ext4")
    with disk.open("r+b") as whole, extracted.open("w+b") as own:
        whole.seek(start)
        own.write(whole.read(size))
        own.flush()
        subprocess.run(
            ["debugfs", "-w", "-R", f"write {source} {name}", str(extracted)],
            check=True, capture_output=True,
        )  # fmt: skip
        own.seek(0)
        whole.seek(start)
        whole.write(own.read())


def sealed_by(disk: Path, secret: str, folder: Path) -> str:
    """Return what sealed a secret of systemd's in the data partition, by its first 16 bytes."""
    start, size = _place(disk, "data")
    extracted, out = folder / "data.ext4", folder / "sealed"
    with disk.open("rb") as whole, extracted.open("wb") as own:
        whole.seek(start)
        own.write(whole.read(size))
    subprocess.run(
        ["debugfs", "-R", f"dump {secret} {out}", str(extracted)], check=True, capture_output=True
    )
    return _SEALS[base64.b64decode(out.read_bytes())[:16].hex()]


def flip(path: Path, *places: int) -> None:
    """Change one bit of a file at each of these places."""
    with path.open("r+b") as file:
        for at in places:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1]))


def spoil(disk: Path, part: str) -> None:
    """Change bits all over a partition's first 200 MiB."""
    start, _ = _place(disk, part)
    flip(disk, *range(start + 2**20, start + 200 * 2**20, 256 * 1024))


def erase(disk: Path, part: str) -> None:
    """Overwrite a partition with zeros."""
    start, size = _place(disk, part)
    with disk.open("r+b") as whole:
        whole.seek(start)
        for _ in range(0, size, 2**20):
            whole.write(bytes(2**20))


def _place(disk: Path, part: str) -> tuple[int, int]:
    """Return where a partition begins, and its size, in bytes."""
    listed = subprocess.run(
        ["sfdisk", "--json", str(disk)], check=True, capture_output=True, text=True
    ).stdout
    parts = {p["name"]: p for p in json.loads(listed)["partitiontable"]["partitions"]}
    return parts[part]["start"] * 512, parts[part]["size"] * 512
