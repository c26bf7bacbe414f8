#!/usr/bin/env python3
"""Holds one thread of a process, as a thread that is stuck: hold-thread.py TID. Lets go when its input ends."""
import ctypes
import os
import sys

PTRACE_INTERRUPT, PTRACE_SEIZE, WALL = 0x4207, 0x4206, 0x40000000

thread = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
    if libc.ptrace(request, thread, None, None) == -1:
        error = ctypes.get_errno()
        sys.exit(f"ptrace of thread {thread}: {os.strerror(error)}")
os.waitpid(thread, WALL)
print("held", flush=True)
# Killed with the lab; until then the thread stands still.
while True:
    os.waitpid(thread, WALL)
