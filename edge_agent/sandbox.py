"""How each process takes away from itself what it does not need, for good.

Three parts of the kernel, all without root: `no_new_privs`; Landlock, for files and TCP; seccomp,
for what Landlock does not know. What is taken away stays so for every process started afterwards.
This module knows system calls and nothing of cameras, keys or records. Call `confine` before the
process has a second thread: Landlock binds the calling thread and its children.

Sources: landlock(7), seccomp(2), and the kernel's system call tables.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
from dataclasses import dataclass
from pathlib import Path

LARGEST_WRITE = 4096
"""Most bytes in one write or send of a process without sockets; no picture fits in."""
NEEDED_LANDLOCK = 4
"""The first version that knows TCP; Linux 6.7."""

PERTURB = {"MALLOC_PERTURB_": "165", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""Environment that has glibc overwrite memory as it is freed: what was there is gone with it.

Small pieces that a thread keeps for itself would escape that, such as a single row of pixels.
"""

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_RULE_PATH, _RULE_PORT = 1, 2
_FS_EXECUTE, _FS_WRITE, _FS_READ, _FS_READ_DIR = 1, 2, 4, 8
_FS_TRUNCATE, _FS_IOCTL = 1 << 14, 1 << 15
_TCP_BIND, _TCP_CONNECT = 1, 2
_O_PATH = 0o10000000
_libc = ctypes.CDLL(None, use_errno=True)


class SandboxError(RuntimeError):
    """The kernel would not confine this process; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a process goes on needing; everything else is taken away.

    Attributes:
        folders: that it may write in.
        devices: character devices that it may open for reading and writing.
        tcp_ports: that it may connect to.
        sockets: whether it may make sockets at all, and send more than `LARGEST_WRITE` at once.
        programs: whether it may start programs.
    """

    folders: tuple[Path, ...] = ()
    devices: tuple[Path, ...] = ()
    tcp_ports: tuple[int, ...] = ()
    sockets: bool = False
    programs: bool = False


ACCELERATORS = {
    "coral": ("apex_*", "bus/usb"),
    "onnx": ("nvhost-*", "nvmap", "nvidia*", "dri/*"),
}
"""Files of /dev that a runtime opens, by patterns; not tried on a board yet."""


def accelerator(runtime: str) -> tuple[Path, ...]:
    """Return the device files, of those that are there, that a runtime of networks needs."""
    patterns = ACCELERATORS.get(runtime, ())
    return tuple(found for pattern in patterns for found in sorted(Path("/dev").glob(pattern)))


def die_with_parent(with_signal: int = signal.SIGTERM) -> None:
    """Have the kernel end this process when the one that started it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, with_signal, 0, 0, 0)


def forbid_dumps() -> None:
    """Have the kernel write no core of this process, and let no other process look into it.

    Only root can still read its memory; where it does, `mlock` and zeroing are what is left.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def landlock_version() -> int:
    """Return the kernel's version of Landlock, 0 where there is none."""
    found: int = _libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    return max(0, found)


def confine(needs: Needs, *, lenient: bool = False) -> str | None:
    """Take everything but what is needed away from this process and all that it starts.

    Returns:
        Why that was not possible, if it was not and the caller is lenient.

    Raises:
        SandboxError: the kernel cannot, or a path that is needed is not there.
    """
    try:
        _confine(needs)
    except SandboxError as error:
        if lenient:
            return str(error)
        raise
    return None


def _confine(needs: Needs) -> None:
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise SandboxError("expected a kernel that knows no_new_privs; install a newer one")
    _restrict_files_and_tcp(needs)
    _filter_calls(needs)


def _restrict_files_and_tcp(needs: Needs) -> None:
    version = landlock_version()
    if version < NEEDED_LANDLOCK:
        raise SandboxError(
            f"expected Landlock {NEEDED_LANDLOCK} or later, got {version}; boot Linux 6.7 or later"
            " with landlock in the kernel's lsm= list"
        )
    handled = (1 << 16) - 1 if version >= 5 else (1 << 15) - 1
    scoped = 3 if version >= 6 else 0  # abstract Unix sockets, signals
    attributes = struct.pack("QQQ", handled, _TCP_BIND | _TCP_CONNECT, scoped)
    attributes = attributes[: 24 if version >= 6 else 16]
    ruleset = _call(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        look = _FS_EXECUTE | _FS_READ | _FS_READ_DIR
        _allow_path(ruleset, Path("/"), look)
        use = _FS_READ | _FS_WRITE | _FS_TRUNCATE | _FS_IOCTL
        _allow_path(ruleset, Path(os.devnull), use & handled)
        for device in needs.devices:
            _allow_path(ruleset, device, use & handled)
        for folder in needs.folders:
            _allow_path(ruleset, folder, handled & ~_FS_EXECUTE)
        for port in needs.tcp_ports:
            _call(_LANDLOCK_ADD, ruleset, _RULE_PORT, struct.pack("QQ", _TCP_CONNECT, port), 0)
        if needs.tcp_ports:  # a client may bind to any free port before it connects
            _call(_LANDLOCK_ADD, ruleset, _RULE_PORT, struct.pack("QQ", _TCP_BIND, 0), 0)
        _call(_LANDLOCK_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow_path(ruleset: int, path: Path, access: int) -> None:
    try:
        descriptor = os.open(path, _O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise SandboxError(f"{path}: {error.strerror}; it must be there to be allowed") from None
    try:
        rule = struct.pack("=Qi", access, descriptor)
        _call(_LANDLOCK_ADD, ruleset, _RULE_PATH, rule, 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        raise SandboxError(f"the kernel refused to confine: {os.strerror(ctypes.get_errno())}")
    return result


# -- seccomp: system calls by name, with their numbers on x86-64 and on 64-bit ARM (-1: none)

_NEVER = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "add_key": (248, 217),
    "request_key": (249, 218), "keyctl": (250, 219), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "shmget": (29, 194), "shmat": (30, 196),
    "shmctl": (31, 195), "msgget": (68, 186), "msgsnd": (69, 189), "semget": (64, 190),
    "mq_open": (240, 180), "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142),
    "setns": (308, 268), "unshare": (272, 97), "personality": (135, 92), "vmsplice": (278, 75),
    "splice": (275, 76), "tee": (276, 77), "sendfile": (40, 71), "copy_file_range": (326, 285),
    "process_madvise": (440, 440), "pidfd_getfd": (438, 438), "syslog": (103, 116),
    "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "setxattrat": (463, 463), "listen": (50, 201),
    "mknod": (133, -1), "mknodat": (259, 33),
}  # fmt: skip
_START_PROGRAMS = {
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, -1), "vfork": (58, -1),
}  # fmt: skip
_REACH_OTHERS = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
    "sendmsg": (46, 211), "sendmmsg": (307, 269), "writev": (20, 66),
    "pwritev": (296, 70), "pwritev2": (328, 287), "memfd_create": (319, 279),
}  # fmt: skip
_WRITE, _PWRITE, _SENDTO = (1, 64), (18, 68), (44, 206)
_CLONE, _CLONE3 = (56, 220), (435, 435)
_CLONE_THREAD = 0x10000
_ARCHITECTURES = {"x86_64": (0, 0xC000003E, 317), "aarch64": (1, 0xC00000B7, 277)}
"""Machine to column of the tables above, audit architecture, and number of seccomp itself."""

_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_SET, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_X32 = 0x3FFFFFFF


def _argument_at(index: int, half: int = 0) -> int:
    return 16 + 8 * index + 4 * half


class _Program:
    """A filter in the kernel's classic BPF: (code, jump if true, jump if false, operand)."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, int, int, int]] = []

    def add(self, code: int, operand: int, if_true: int = 0, if_false: int = 0) -> None:
        self._lines.append((code, if_true, if_false, operand))

    def refuse(self, number: int, error: int = _EPERM) -> None:
        """Refuse one system call, whose number is loaded."""
        if number >= 0:
            self.add(_JUMP_EQUAL, number, 0, 1)
            self.add(_RETURN, _ERRNO | error)

    def refuse_if(
        self, number: int, at: int, test: int, operand: int, *, holds: bool = True
    ) -> None:
        """Refuse one system call whose argument passes a test, or, without `holds`, does not."""
        self.add(_JUMP_EQUAL, number, 0, 4)
        self.add(_LOAD, at)
        self.add(test, operand, *((0, 1) if holds else (1, 0)))
        self.add(_RETURN, _ERRNO | _EPERM)
        self.add(_LOAD, _NUMBER_AT)

    def packed(self) -> bytes:
        return b"".join(struct.pack("HBBI", *line) for line in self._lines)


def _filter_calls(needs: Needs) -> None:
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise SandboxError(f"expected x86_64 or aarch64, got {machine}; there is no filter for it")
    column, architecture, seccomp = _ARCHITECTURES[machine]
    program = _Program()
    program.add(_LOAD, _ARCHITECTURE_AT)
    program.add(_JUMP_EQUAL, architecture, 1, 0)
    program.add(_RETURN, _ERRNO | _EPERM)
    program.add(_LOAD, _NUMBER_AT)
    program.add(_JUMP_GREATER, _X32, 0, 1)
    program.add(_RETURN, _ERRNO | _EPERM)
    for numbers in _NEVER.values():
        program.refuse(numbers[column])
    if not needs.programs:
        for numbers in _START_PROGRAMS.values():
            program.refuse(numbers[column])
        # Its flags lie in memory, where no filter can look: glibc falls back to clone.
        program.refuse(_CLONE3[column], _ENOSYS)
        program.refuse_if(_CLONE[column], _argument_at(0), _JUMP_SET, _CLONE_THREAD, holds=False)
    if not needs.sockets:
        for numbers in _REACH_OTHERS.values():
            program.refuse(numbers[column])
        for numbers in (_WRITE, _PWRITE, _SENDTO):
            number = numbers[column]
            program.refuse_if(number, _argument_at(2), _JUMP_GREATER, LARGEST_WRITE)
            program.refuse_if(number, _argument_at(2, half=1), _JUMP_GREATER, 0)
        for half in (0, 1):  # a send with an address of its own
            program.refuse_if(_SENDTO[column], _argument_at(4, half), _JUMP_GREATER, 0)
    program.add(_RETURN, _ALLOW)
    lines = program.packed()
    kept = ctypes.create_string_buffer(lines, len(lines))
    what = struct.pack("HxxxxxxP", len(lines) // 8, ctypes.addressof(kept))
    _call(seccomp, 1, 1, what)  # SECCOMP_SET_MODE_FILTER for all threads
