"""Keep clear text out of core dumps, which outlive the process and end up wherever the kernel sends them."""

import resource

_NEITHER_FILE_NOR_PIPE = 1
"""A limit of 0 stops core files only. With 1, the kernel also sends nothing to a program: see core(5) on pipes, and the
comment on RLIMIT_CORE in Linux's fs/coredump.c."""


def forbid_core_dumps() -> None:
    """Make this process, and those that it starts, leave no core dump when they crash."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    soft = _NEITHER_FILE_NOR_PIPE if hard == resource.RLIM_INFINITY else min(_NEITHER_FILE_NOR_PIPE, hard)
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
