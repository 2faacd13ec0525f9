"""The last lines of a training job's log, and the address where a person reads all of it."""

import time
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError

GROUP = "/aws/sagemaker/TrainingJobs"
_TRIES, _PAUSE = 3, 2.0  # lines arrive some seconds after they were written


def console_url(region: str, training_job: str) -> str:
    """Return the CloudWatch page that lists the log streams of a training job."""
    group = quote(quote(GROUP, safe=""), safe="").replace("%", "$")
    name = quote(quote(training_job, safe=""), safe="").replace("%", "$")
    return (
        f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
        f"#logsV2:log-groups/log-group/{group}$3FlogStreamNameFilter$3D{name}"
    )


def tail(client, training_job: str, lines: int) -> list[str]:
    """Return the last LINES lines of each host's log, each host under its name; [] when there is no log."""
    for attempt in range(_TRIES):
        try:
            streams = client.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=f"{training_job}/")
            shown = []
            for stream in streams["logStreams"]:
                name = stream["logStreamName"]
                events = client.get_log_events(
                    logGroupName=GROUP, logStreamName=name, limit=lines, startFromHead=False
                )["events"]
                shown += [f"--- {name}", *(event["message"].rstrip() for event in events)] if events else []
            if shown:
                return shown
        except client.exceptions.ResourceNotFoundException:
            pass
        except (ClientError, BotoCoreError) as error:
            return [f"(the log could not be read: {error})"]
        if attempt + 1 < _TRIES:
            time.sleep(_PAUSE)
    return []
