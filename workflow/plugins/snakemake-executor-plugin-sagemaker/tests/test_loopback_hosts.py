"""Jobs of several hosts: names, networks, folders of their own, and what one host's end means for the others."""

import json
import subprocess
import textwrap

import boto3
import pytest

from loopback import HostDeath, LateNames
from loopback.examples import request

HOSTS = """
import json, os, pathlib, signal, socket, sys, time
ML = pathlib.Path(os.environ.get("SM_ML_ROOT", "/opt/ml"))
config = json.loads((ML / "input/config/resourceconfig.json").read_text())
hosts, me = config["hosts"], config["current_host"]
head = hosts[0]


def say(*words):
    print(*words, flush=True)


def connected(seconds=10):
    '''The head accepts one peer, the peer calls the head by its name: a connected socket on both.'''
    if me == head:
        return socket.create_server(("", 29511)).accept()[0]
    until = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection((head, 29511))
        except OSError as error:
            say("not yet:", type(error).__name__)
            assert time.monotonic() < until
            time.sleep(0.1)
"""


@pytest.fixture
def loopback_options() -> dict:
    return {"grace": 1.0}


@pytest.fixture
def sagemaker(loopback):
    return boto3.client("sagemaker")


@pytest.fixture
def run(sagemaker, tmp_path):
    """Start a job whose hosts run a script that begins with HOSTS."""

    def run(name: str, code: str, hosts: int = 2) -> None:
        script = tmp_path / f"{name}.py"
        script.write_text(HOSTS + textwrap.dedent(code))
        resources = {"InstanceType": "ml.g5.xlarge", "InstanceCount": hosts, "VolumeSizeInGB": 30}
        sagemaker.create_training_job(**request(name, "python", "-u", str(script), ResourceConfig=resources))

    return run


@pytest.fixture
def namespaces_only(loopback):
    if not loopback.use_namespaces:
        pytest.skip("this machine allows no namespaces")


@pytest.mark.parametrize("loopback_options", [{"use_namespaces": None}, {"use_namespaces": False}])
def test_hosts_reach_each_other_by_the_names_they_are_told(loopback, run):
    code = """
        with connected() as peer:
            peer.sendall(me.encode())
            say(me, "heard", peer.recv(99).decode())
    """
    run("pair", code)
    assert loopback.wait("pair")["TrainingJobStatus"] == "Completed", loopback.logs.text("pair")
    first, second = ("algo-1", "algo-2") if loopback.use_namespaces else ("127.0.0.1", "127.0.0.2")
    log = loopback.logs.text("pair")
    assert f"{first} heard {second}" in log
    assert f"{second} heard {first}" in log


def test_each_host_is_a_machine_of_its_own(loopback, run, namespaces_only, tmp_path):
    secret = tmp_path / "written-by-a-job"
    code = f"""
        pathlib.Path({str(secret)!r}).write_text(me)
        (pathlib.Path.home() / me).touch()
        say(json.dumps({{"pid": os.getpid(), "host": socket.gethostname(), "home": os.listdir(pathlib.Path.home()),
            "interfaces": sorted(name for _, name in socket.if_nameindex()), "ml": sorted(os.listdir("/opt/ml"))}}))
    """
    run("machines", code)
    loopback.wait("machines")
    streams = boto3.client("logs").describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs")["logStreams"]
    names = [stream["logStreamName"] for stream in streams]
    assert [name.rpartition("-")[0] for name in names] == ["machines/algo-1", "machines/algo-2"]
    for line, host in zip(loopback.logs.text("machines").splitlines(), ("algo-1", "algo-2"), strict=True):
        found = json.loads(line)
        assert (found["pid"], found["host"], found["home"]) == (1, host, [host])
        assert found["interfaces"] == ["eth0", "lo"]
        assert found["ml"] == ["input", "model", "output"]
    assert not secret.exists()


class TestHiddenFolders:
    @pytest.fixture
    def loopback_options(self, tmp_path):
        (tmp_path / "clone").mkdir()
        (tmp_path / "clone/data").write_text("of the submitting machine")
        return {"hide": (str(tmp_path / "clone"),)}

    def test_hosts_see_nothing_of_a_hidden_folder(self, loopback, run, namespaces_only, tmp_path):
        run("hidden", f"say(os.listdir({str(tmp_path / 'clone')!r}))", hosts=1)
        assert loopback.wait("hidden")["TrainingJobStatus"] == "Completed"
        assert loopback.logs.text("hidden") == "[]"


def test_hosts_are_listed_in_the_order_of_strings(loopback, run):
    run("eleven", "say(*[host.replace('.', '-').rpartition('-')[2] for host in hosts]) if me == head else 0", hosts=11)
    loopback.wait("eleven")
    assert loopback.logs.text("eleven").split() == ["1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"]


def test_names_may_resolve_late(loopback, run, namespaces_only):
    loopback.plan(LateNames(job="late", seconds=0.7))
    run("late", "connected(); say(me, 'met')")
    assert loopback.wait("late")["TrainingJobStatus"] == "Completed", loopback.logs.text("late")
    log = loopback.logs.text("late")
    assert "not yet: gaierror" in log
    assert "algo-1 met" in log


@pytest.mark.parametrize("loopback_options", [{"use_namespaces": None}, {"use_namespaces": False}])
def test_the_first_host_that_fails_names_the_reason_and_the_others_are_told(loopback, run):
    code = """
        if me == head:
            signal.signal(signal.SIGTERM, lambda *_: (say("told to stop"), sys.exit(5)))
            connected()
            time.sleep(60)
        connected()
        (ML / "output/failure").write_text("loss is NaN")
        sys.exit(9)
    """
    run("one-fails", code)
    described = loopback.wait("one-fails", 30)
    assert described["FailureReason"] == "AlgorithmError: loss is NaN, exit code: 9"
    assert "told to stop" in loopback.logs.text("one-fails")


def test_a_dead_host_ends_the_job(loopback, run):
    loopback.plan(HostDeath(host="algo-2", when="output/started"))
    run("dies", "(ML / 'output/started').touch() if me != head else None; time.sleep(60)")
    assert loopback.wait("dies", 30)["FailureReason"] == "AlgorithmError: , exit code: 137"


@pytest.mark.parametrize("silent", [False, True])
def test_peers_of_a_dead_host_learn_of_it_only_when_its_system_could_tell_them(loopback, run, namespaces_only, silent):
    loopback.plan(HostDeath(host="algo-2", when="output/met", silent=silent, noticed=False))
    code = """
        with connected() as peer:
            peer.settimeout(2)
            (ML / "output/met").touch()
            if me != head:
                time.sleep(60)
            try:
                say("heard", peer.recv(1))
            except OSError as error:
                say("heard", type(error).__name__)
        (ML / "output/failure").write_text("algo-2 is gone")
        sys.exit(4)
    """
    run("unnoticed", code)
    described = loopback.wait("unnoticed", 30)
    assert ("heard TimeoutError" if silent else "heard b''") in loopback.logs.text("unnoticed").splitlines()
    assert described["FailureReason"] == "AlgorithmError: algo-2 is gone, exit code: 4"


@pytest.mark.parametrize("loopback_options", [{"use_namespaces": False}])
def test_what_plain_processes_can_not_do_is_refused(loopback):
    for fault in (LateNames(), HostDeath(silent=True)):
        with pytest.raises(ValueError, match="needs namespaces"):
            loopback.plan(fault)


def test_the_machines_own_network_does_not_change(loopback, run, namespaces_only):
    before = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    run("network", "connected(); time.sleep(60)")
    loopback.wait_for("network", "Training")
    during = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    assert before == during
