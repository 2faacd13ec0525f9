"""All hosts of a job as containers of a real image: a program, run by `sandbox.py` where the server is given one.

Same commands, same answers and same end as `sandbox_root.py`. Each container has the image's files and its /opt/ml, is
alone with its processes (the command is PID 1), and shares the machine's network. podman runs them, with the settings
that it finds in the environment.
"""

import json
import os
import subprocess
import sys
import threading
import time

from lifeline import watch_owner

_NO_CONTAINER = 125  # podman's exit status when it could not even make one
_PAUSE = 0.1  # seconds between two tries to reach a container that is still being made


def remove_containers(prefix: str) -> None:
    """Kill and remove the containers whose names begin with `prefix`, those of a killed owner too."""
    listing = ["podman", "ps", "--all", "--quiet", "--filter", f"name=^{prefix}"]
    found = subprocess.run(listing, capture_output=True, text=True).stdout.split()
    if found:
        subprocess.run(["podman", "rm", "--force", "--time", "0", *found], capture_output=True)


def container_name(folder: str, host: str = "") -> str:
    """Return the name of a host's container, or how those of all hosts begin.

    No other attempt has it: the last parts of an attempt's folder are the server's, `jobs`, the job and a number.
    """
    root, _, job, number = folder.rsplit("/", 3)
    return f"{server_prefix(root)}{job}-{number}-{host}"


def server_prefix(root: str) -> str:
    """Return how the names of all containers of a server begin."""
    return f"{os.path.basename(root)}-"


def run_command(spec: dict, host: dict) -> list[str]:
    """Return the command that runs a host's container to its end and has its exit status."""
    variables = [word for item in host["env"].items() for word in ("--env", "=".join(item))]
    entry, *arguments = spec["argv"]
    return [
        *("podman", "run", "--rm", "--pull", "never", "--name", container_name(spec["folder"], host["name"])),
        *("--log-driver", "none", "--network", "host", "--shm-size", "1g"),
        *("--volume", f"{host['folder']}/ml:/opt/ml", *variables),
        *("--entrypoint", json.dumps([entry]), spec["image"], *arguments),
    ]


def main(specification: str) -> None:
    with open(specification) as file:
        spec = json.load(file)

    containers: dict[str, subprocess.Popen] = {}

    def end() -> None:
        for container in list(containers.values()):
            container.kill()  # one that podman is still making is never made
        remove_containers(container_name(spec["folder"]))
        os._exit(0)

    watch_owner(end)
    for host in spec["hosts"]:
        with open(os.path.join(host["folder"], "log"), "ab", buffering=0) as log:
            containers[host["name"]] = subprocess.Popen(
                run_command(spec, host), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
    waiters = [threading.Thread(target=report, args=(host, containers[host["name"]], end)) for host in spec["hosts"]]
    for waiter in waiters:
        waiter.start()
    threading.Thread(target=obey, args=(spec["folder"], containers, end), daemon=True).start()
    for waiter in waiters:
        waiter.join()
    os._exit(0)


def report(host: dict, container: subprocess.Popen, end) -> None:
    code = container.wait()
    if code == _NO_CONTAINER:  # the owner misses an exit code, and shows what is printed here
        with open(os.path.join(host["folder"], "log"), errors="replace") as log:
            print(log.read(), file=sys.stderr, flush=True)
        end()
    print(f"exit {host['name']} {code}", flush=True)


def obey(folder: str, containers: dict[str, subprocess.Popen], end) -> None:
    for line in sys.stdin:
        command, host = line.split()
        signal = {"term": "TERM", "kill": "KILL"}[command]
        kill = ["podman", "kill", "--signal", signal, container_name(folder, host)]
        while containers[host].poll() is None and subprocess.run(kill, capture_output=True).returncode:
            time.sleep(_PAUSE)
    end()


if __name__ == "__main__":
    main(sys.argv[1])
