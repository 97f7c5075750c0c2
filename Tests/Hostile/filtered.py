"""Becomes a program for which openat2 does not exist, as under systemd's RestrictSUIDSGID: usage: filtered.py PROGRAM [ARGUMENT...]

That setting cannot look at what openat2 is called with, so it answers ENOSYS to everybody (seccomp_restrict_suid_sgid of systemd).
"""

import ctypes
import os
import struct
import sys

NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
OPENAT2, NO_SUCH_CALL = 437, 38
# Loads the number of the call; where it is that one, an error number, else the call.
STEPS = [(0x20, 0, 0, 0), (0x15, 0, 1, OPENAT2), (0x06, 0, 0, 0x00050000 | NO_SUCH_CALL), (0x06, 0, 0, 0x7FFF0000)]

code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in STEPS))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(STEPS), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(SECCOMP, FILTER, program, 0, 0):
    sys.exit(f"filtered: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
