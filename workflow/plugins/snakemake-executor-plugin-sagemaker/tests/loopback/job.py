"""A training job's record: what was asked for, where it stands, what Describe, List and Search say of it."""

import math
import threading
import time

ACCOUNT, REGION = "123456789012", "us-east-1"
ENDED = ("Completed", "Failed", "Stopped")
SPOT_PRICE_RATIO = 0.3  # of the on-demand price; on AWS it follows the market

_DESCRIBED_AS_ASKED = (
    "TrainingJobName",
    "HyperParameters",
    "AlgorithmSpecification",
    "RoleArn",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "VpcConfig",
    "StoppingCondition",
    "CheckpointConfig",
    "Environment",
    "RetryStrategy",
    "DebugHookConfig",
    "ExperimentConfig",
    "TensorBoardOutputConfig",
    "ProfilerConfig",
    "RemoteDebugConfig",
    "InfraCheckConfig",
)


class TrainingJob:
    """The record of one job; its life is driven by `lifecycle.Lifecycle`. All times are epoch seconds."""

    def __init__(self, request: dict, faults: list):
        self.request, self.faults = request, faults
        self.name = request["TrainingJobName"]
        self.arn = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:training-job/{self.name}"
        self.tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])}
        self.role = request["RoleArn"]
        self.instance_type = request["ResourceConfig"].get("InstanceType", "")
        self.instance_count = request["ResourceConfig"].get("InstanceCount", 1)
        self.spot = request.get("EnableManagedSpotTraining", False)
        self.created = self.modified = time.time()
        self.started: float | None = None
        self.ended: float | None = None
        self.trained_seconds = 0.0  # over all attempts
        self.status, self.secondary_status = "InProgress", "Starting"
        self.failure_reason: str | None = None
        self.transitions: list[dict] = []
        self.stop_requested = threading.Event()
        self.over = threading.Event()
        self._lock = threading.RLock()
        self.enter("InProgress", "Starting", "Starting the training job")

    def enter(self, status: str, secondary_status: str, message: str = "") -> None:
        """Go to a status; the transition before it ends now. A job that is being stopped makes no more progress."""
        with self._lock:
            if self.status == "Stopping" and status == "InProgress":
                return
            now = self.modified = time.time()
            self.status, self.secondary_status = status, secondary_status
            if self.transitions:
                self.transitions[-1].setdefault("EndTime", now)
            transition = {"Status": secondary_status, "StartTime": now, "StatusMessage": message}
            if status in ENDED:
                self.ended = transition["EndTime"] = now
            self.transitions.append(transition)

    def request_stop(self) -> None:
        """Begin to stop, as StopTrainingJob does; harmless for a job that is over or already stopping."""
        with self._lock:
            if self.status == "InProgress":
                self.enter("Stopping", "Stopping", "Stopping the training job")
        self.stop_requested.set()

    def finish(self, status: str, secondary_status: str, message: str = "", *, reason: str | None = None) -> None:
        """Go to a last status and wake those who wait for it."""
        with self._lock:
            self.failure_reason = reason[:1024] if reason else None
            self.enter(status, secondary_status, message or reason or "")
        self.over.set()

    def describe(self) -> dict:
        """The answer of DescribeTrainingJob."""
        with self._lock:
            answer = {key: self.request[key] for key in _DESCRIBED_AS_ASKED if key in self.request}
            output = self.request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
            answer |= {
                "TrainingJobArn": self.arn,
                "TrainingJobStatus": self.status,
                "SecondaryStatus": self.secondary_status,
                "SecondaryStatusTransitions": [dict(transition) for transition in self.transitions],
                "CreationTime": self.created,
                "LastModifiedTime": self.modified,
                "EnableManagedSpotTraining": self.spot,
                "EnableNetworkIsolation": self.request.get("EnableNetworkIsolation", False),
                "EnableInterContainerTrafficEncryption": self.request.get(
                    "EnableInterContainerTrafficEncryption", False
                ),
                "ModelArtifacts": {"S3ModelArtifacts": f"{output}/{self.name}/output/model.tar.gz"},
            }
            if self.started:
                answer["TrainingStartTime"] = self.started
            if self.ended:
                answer["TrainingEndTime"] = self.ended
            if self.ended and self.started:
                answer["TrainingTimeInSeconds"] = max(1, math.ceil(self.trained_seconds))
                # of a spot job AWS bills fewer seconds at the full price, not all seconds at a lower one
                ratio = SPOT_PRICE_RATIO if self.spot else 1
                answer["BillableTimeInSeconds"] = max(1, math.ceil(self.trained_seconds * ratio))
            if self.failure_reason:
                answer["FailureReason"] = self.failure_reason
            answer |= self._warm_pool()
            return answer

    def _warm_pool(self) -> dict:
        keep_alive = self.request["ResourceConfig"].get("KeepAlivePeriodInSeconds")
        if not keep_alive:
            return {}
        if self.status not in ENDED:
            return {"WarmPoolStatus": {"Status": "InUse"}}
        retained = time.time() - self.ended
        status = "Available" if self.status == "Completed" and retained < keep_alive else "Terminated"
        retained_seconds = int(min(retained, keep_alive)) if self.status == "Completed" else 0
        return {"WarmPoolStatus": {"Status": status, "ResourceRetainedBillableTimeInSeconds": retained_seconds}}

    def summary(self) -> dict:
        """The entry of ListTrainingJobs."""
        described = self.describe()
        keys = (
            "TrainingJobName",
            "TrainingJobArn",
            "CreationTime",
            "TrainingEndTime",
            "LastModifiedTime",
            "TrainingJobStatus",
            "SecondaryStatus",
            "WarmPoolStatus",
        )
        return {key: described[key] for key in keys if key in described}
