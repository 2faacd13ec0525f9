"""The first process of a job's sandbox: a program, run by `sandbox.py` in new user, network, mount and PID namespaces.

It builds a bridge with one cable (veth) a host, starts `sandbox_host.py` once a host in namespaces below its own, and
passes commands on. As PID 1 of the sandbox it takes every process, interface and mount of all hosts with it when it
ends, and it ends when its standard input does: when its owner closes it or dies.

Arguments: the path of the specification (see `sandbox.py`), or `--probe`: try each thing needed and exit 0 if all work.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading

NETWORK = "10.77.0"  # each sandbox has a network of its own, so all can use the same addresses


def run(*command: str, text: str | None = None) -> None:
    subprocess.run(command, check=True, input=text, text=True, stdout=sys.stderr)


def add_layers(folder: str) -> None:
    """A file system in memory below `folder` for what the hosts write outside of their own trees."""
    run("mount", "--make-rprivate", "/")
    os.makedirs(folder, exist_ok=True)
    run("mount", "-t", "tmpfs", "tmpfs", folder)


def overlay(target: str, layer: str, *, folders: tuple[str, ...] = ()) -> None:
    """Let `target` take writes that only this mount namespace sees; `folders` exist in it from the start."""
    upper, work = os.path.join(layer, "upper"), os.path.join(layer, "work")
    os.makedirs(work)
    for name in ("", *folders):
        os.makedirs(os.path.join(upper, name), exist_ok=True)
    shutil.copymode(target, upper)
    run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={target},upperdir={upper},workdir={work}", target)


def main(specification: str) -> None:
    with open(specification) as file:
        spec = json.load(file)
    layers = os.path.join(spec["folder"], "layers")
    add_layers(layers)
    if not os.path.isdir("/opt/ml"):
        overlay("/opt", os.path.join(layers, "opt"), folders=("ml",))
    run("ip", "-batch", "-", text="link set lo up\nlink add br0 type bridge\nlink set br0 up\n")

    hosts = {}
    own_network = os.readlink("/proc/self/ns/net")
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sandbox_host.py")
    for number, host in enumerate(spec["hosts"]):
        command = ["unshare", "--net", "--mount", "--uts", "--", sys.executable, "-S", "-E", "-s", program]
        process = subprocess.Popen([*command, specification, host["name"]], stdin=subprocess.PIPE, text=True)
        while process.poll() is None and os.readlink(f"/proc/{process.pid}/ns/net") == own_network:
            pass  # unshare takes a millisecond to enter its namespaces
        run(
            "ip",
            "-batch",
            "-",
            text=f"link add cable{number} type veth peer name eth0 netns {process.pid}\n"
            f"link set cable{number} master br0 up\n",
        )
        hosts[host["name"]] = process
        tell(process, "connected")
    threading.Thread(target=pass_on_commands, args=(hosts,), daemon=True).start()
    running = {process.pid for process in hosts.values()}
    while running:
        child, status = os.wait()  # PID 1 also inherits children that it never started
        if child in running and status:
            os._exit(1)  # could not become a host; the owner misses its exit code and shows what it printed
        running.discard(child)


def pass_on_commands(hosts: dict) -> None:
    """Lines `COMMAND HOST` from the owner; the end of the input is the end of the sandbox."""
    for line in sys.stdin:
        command, host = line.split()
        tell(hosts[host], command)
    os._exit(0)


def tell(process, command: str) -> None:
    try:
        process.stdin.write(f"{command}\n")
        process.stdin.flush()
    except OSError:
        pass  # that host is gone


def probe() -> None:
    folder = tempfile.mkdtemp()
    try:
        add_layers(folder)
        overlay("/opt", os.path.join(folder, "opt"), folders=("ml",))
        overlay("/tmp", os.path.join(folder, "tmp"))
        commands = "link set lo up\nlink add br0 type bridge\nlink add cable0 type veth peer name eth0\n"
        run("ip", "-batch", "-", text=commands + "link set cable0 master br0 up\n")
    finally:
        # from below the overlay: unmounting in the reverse order uncovers the folder
        for target in ("/tmp", "/opt", folder):
            subprocess.run(["umount", target], stderr=subprocess.DEVNULL)
        os.rmdir(folder)


if __name__ == "__main__":
    if sys.argv[1] == "--probe":
        probe()
    else:
        main(sys.argv[1])
