"""vLLM's own server in a process of its own, by the Python of its own environment: python -P server.py FLAGS…

It dies with whoever began it. This module imports the standard library alone until then.
"""

import ctypes
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1
SERVER = "vllm.entrypoints.openai.api_server"

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # it then ends its own processes
    sys.argv[0] = SERVER
    runpy.run_module(SERVER, run_name="__main__")
