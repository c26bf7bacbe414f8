#!/usr/bin/env python3
"""Has one thread of a process loop for ever, as a bug would: spin-thread.py TID. x86-64 alone.

The thread goes on at two octets of the program's own text that are a jump to itself, wherever they happen to stand.
"""
import ctypes
import os
import sys

PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_DETACH = 12, 13, 17
PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000
ORIG_RAX, RIP, REGISTERS = 15, 16, 27
JUMP_TO_ITSELF = b"\xeb\xfe"

thread = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, data=None):
    if libc.ptrace(request, thread, None, data) == -1:
        sys.exit(f"ptrace {request} of thread {thread}: {os.strerror(ctypes.get_errno())}")


def place():
    """Where the jump is."""
    with open(f"/proc/{thread}/maps") as maps, open(f"/proc/{thread}/mem", "rb", 0) as memory:
        for line in maps:
            span, mode = line.split()[:2]
            start, end = (int(part, 16) for part in span.split("-"))
            if mode != "r-xp" or "[" in line:
                continue
            memory.seek(start)
            at = memory.read(end - start).find(JUMP_TO_ITSELF)
            if at >= 0:
                return start + at
    sys.exit("no jump to itself in the program's text")


ptrace(PTRACE_SEIZE)
ptrace(PTRACE_INTERRUPT)
os.waitpid(thread, WALL)
registers = (ctypes.c_ulonglong * REGISTERS)()
ptrace(PTRACE_GETREGS, ctypes.addressof(registers))
registers[RIP] = place()
registers[ORIG_RAX] = (1 << 64) - 1  # no system call is to be made again
ptrace(PTRACE_SETREGS, ctypes.addressof(registers))
ptrace(PTRACE_DETACH)
