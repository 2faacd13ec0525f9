"""What a container finds on its host: the tree below /opt/ml, and its environment."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from .job import REGION, TrainingJob
from .kinds import HostKind
from .storage import download


@dataclass(frozen=True)
class Host:
    """One host of one attempt. `name` as in the log streams, `address` as in resourceconfig.json."""

    name: str
    address: str
    folder: Path

    @property
    def ml(self) -> Path:
        """The host's /opt/ml, outside."""
        return self.folder / "ml"

    @property
    def log(self) -> Path:
        return self.folder / "log"


def hosts_of(job: TrainingJob, folder: Path, kind: HostKind) -> list[Host]:
    """The hosts algo-1, algo-2, …: names that resolve where each has a network of its own. Elsewhere nothing can make
    names resolve for every program, so that loopback addresses stand in resourceconfig.json for them.
    """
    hosts = []
    for number in range(1, job.instance_count + 1):
        name = f"algo-{number}"
        hosts.append(Host(name, name if kind.has_own_network else kind.address(number), folder / name))
    return hosts


def write_tree(job: TrainingJob, host: Host, hosts: list[Host], s3) -> None:
    """/opt/ml as SageMaker makes it: configuration, input channels, empty folders for the rest."""
    for part in ("input/config", "input/data", "model", "output/data"):
        (host.ml / part).mkdir(parents=True)
    (host.folder / "home").mkdir()
    addresses = sorted(each.address for each in hosts)  # SageMaker sorts as strings: algo-10 comes before algo-2
    group = {"instance_group_name": "homogeneousCluster", "instance_type": job.instance_type, "hosts": addresses}
    of_the_machine = "lo0" if sys.platform == "darwin" else "lo"
    interface = "eth0" if host.address == host.name else of_the_machine
    resources = {
        "current_host": host.address,
        "current_instance_type": job.instance_type,
        "current_group_name": "homogeneousCluster",
        "hosts": addresses,
        "instance_groups": [group],
        "network_interface_name": interface,
    }
    channels = {}
    for channel in job.request.get("InputDataConfig", []):
        source = channel["DataSource"]["S3DataSource"]
        channels[channel["ChannelName"]] = {
            "TrainingInputMode": channel.get("InputMode", job.request["AlgorithmSpecification"]["TrainingInputMode"]),
            "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
        }
        folder = host.ml / "input/data" / channel["ChannelName"]
        folder.mkdir()
        download(s3, source["S3Uri"], folder)
    for name, content in (
        ("resourceconfig", resources),
        ("hyperparameters", job.request.get("HyperParameters", {})),
        ("inputdataconfig", channels),
    ):
        (host.ml / "input/config" / f"{name}.json").write_text(json.dumps(content))


def environment(job: TrainingJob, host: Host, image: dict[str, str], kind: HostKind) -> dict[str, str]:
    """The container's variables: the image's, the platform's, then the request's. SM_* variables are made by Amazon's
    own training toolkit in its own images, not by the platform, so they aren't here.
    """
    variables = {
        **image,
        "HOSTNAME": host.name,
        "TRAINING_JOB_NAME": job.name,
        "TRAINING_JOB_ARN": job.arn,
        "AWS_REGION": REGION,  # and not AWS_DEFAULT_REGION, which boto3 reads
    }
    if kind is HostKind.NAMESPACES:
        variables["HOME"] = "/tmp/home"
    if not kind.has_own_files:
        home = str(host.folder / "home")
        variables |= {"SM_ML_ROOT": str(host.ml), "HOME": home, "TMPDIR": home}
    return variables | job.request.get("Environment", {})


def command(job: TrainingJob) -> list[str]:
    """`docker run IMAGE train` unless the request says otherwise."""
    algorithm = job.request["AlgorithmSpecification"]
    return [*algorithm.get("ContainerEntrypoint", ["train"]), *algorithm.get("ContainerArguments", [])]
