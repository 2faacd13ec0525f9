"""All hosts of a job as plain processes: a program, run by `sandbox.py` where namespaces are not allowed.

Same commands, same answers and same end as `sandbox_root.py`; what differs for the container: it isn't PID 1, its
/opt/ml is the folder that `SM_ML_ROOT` names, and /tmp and the network are the machine's.
Processes are found by an environment variable that all of them inherit, since a process can leave its group and lose
its parent.
"""

import json
import os
import signal
import subprocess
import sys
import threading

import psutil
from lifeline import watch_owner

MARK = "LOOPBACK_SAGEMAKER_HOST"


def kill_marked(mark: str) -> None:
    """Kill every process of this user whose mark starts with `mark`, until there is none."""
    while marked := [process for process in psutil.process_iter() if _mark(process).startswith(mark)]:
        for process in marked:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(marked, timeout=1)


def _mark(process) -> str:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return process.environ().get(MARK, "")
    except psutil.Error:
        return ""


def main(specification: str) -> None:
    with open(specification) as file:
        spec = json.load(file)
    containers = {}
    waiters = []

    def end() -> None:
        kill_marked(f"{spec['folder']}:")
        os._exit(0)

    watch_owner(end)
    for host in spec["hosts"]:
        mark = f"{spec['folder']}:{host['name']}:"
        home = os.path.join(host["folder"], "home")
        with open(os.path.join(host["folder"], "log"), "ab", buffering=0) as log:
            try:
                container = subprocess.Popen(
                    spec["argv"],
                    env={**host["env"], MARK: mark},
                    cwd=home,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                log.write(f"{error}\n".encode())
                print(f"exit {host['name']} 127", flush=True)
                continue
        containers[host["name"]] = (container, mark)
        waiters.append(threading.Thread(target=report, args=(host["name"], container, mark)))
    for waiter in waiters:
        waiter.start()
    threading.Thread(target=obey, args=(containers, end), daemon=True).start()
    for waiter in waiters:
        waiter.join()
    os._exit(0)


def report(name: str, container: subprocess.Popen, mark: str) -> None:
    code = container.wait()
    kill_marked(mark)  # when PID 1 of a container ends, so does the rest of it
    print(f"exit {name} {code if code >= 0 else 128 - code}", flush=True)


def obey(containers: dict, end) -> None:
    for line in sys.stdin:
        command, name = line.split()
        if name in containers:
            container, mark = containers[name]
            if command == "term" and container.poll() is None:
                container.send_signal(signal.SIGTERM)
            elif command == "kill":
                kill_marked(mark)
    end()


if __name__ == "__main__":
    main(sys.argv[1])
