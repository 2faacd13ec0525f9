"""How fast a checkpoint of several files gets to S3 and back where each connection is slow: DVC's way and a plain one.

    python benchmarks/checkpoint_transfer.py [--shards 8] [--shard-mb 4] [--seconds 20] [--output FILE]

S3 gives one connection about 100 MB/s, so that 16 GB are moved fast by several only. Here moto's S3 is behind a network
that carries so little over each connection that one file takes `--seconds`, everything 20 ms late: 8 files of 2 GB
(as `save_pretrained(max_shard_size="2GB")` writes 8 billion parameters) at 100 MB/s, scaled down in bytes, and so are
s3fs's parts of 50 MiB. `dvc` moves them as a stage's job does, `plain` is boto3 with one stream a file, all at once.
Seconds are those of the transfer alone.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from measuring import command_line, machine, write_result

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "workflow" / "plugins" / "snakemake-executor-plugin-sagemaker"
sys.path[:0] = [str(path) for path in (ROOT / "tests", PLUGIN / "tests", ROOT / "scripts", ROOT / "workflow")]
BUCKET = "checkpoints"
DELAY = 0.02
SHARD, PART = 2e9, 50 * 2**20
"""Bytes of a file that `--shard-mb` stands for, and of the parts in which s3fs moves it."""
TARGET = 0.8
"""DVC's speed over the plain one."""


def main() -> None:
    parser = command_line(__doc__, "checkpoint_transfer")
    parser.add_argument("--shards", type=int, default=8, help="files of the checkpoint")
    parser.add_argument("--shard-mb", type=float, default=4.0, help="MB of each")
    parser.add_argument("--seconds", type=float, default=20.0, help="that one connection takes for one file")
    options = parser.parse_args()
    from moto_server import CREDENTIALS, moto_server

    facts = machine("dvc", "dvc-s3", "boto3", "s3transfer", "moto")
    size = int(options.shard_mb * 10**6)
    variables = {**CREDENTIALS, "S3_UPLOAD_PART_MIN_SIZE": "1"}  # moto's: real ones have 5 MB at least
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, variables),
        moto_server() as endpoint,
        small_parts(int(PART * size / SHARD)),
    ):
        place = Path(folder)
        checkpoint = place / "checkpoint"
        checkpoint.mkdir()
        for number in range(options.shards):
            (checkpoint / f"model-{number:05}.safetensors").write_bytes(os.urandom(size))
        figures = measure(place, checkpoint, endpoint, size / options.seconds)
    ratios = {way: round(figures["plain"][way] / figures["dvc"][way], 2) for way in ("upload_s", "download_s")}
    print(ratios)
    claims = {
        f"dvc's {way.removesuffix('_s')}, over plain": {"target": TARGET, "measured": ratio, "reached": ratio >= TARGET}
        for way, ratio in ratios.items()
    }
    shape = {"shards": options.shards, "shard_mb": options.shard_mb, "one_connection_takes_s": options.seconds}
    write_result(options.output, {"machine": facts, **shape, "ways": figures, "claims": claims})


@contextmanager
def small_parts(size: int) -> Iterator[None]:
    """Have s3fs move files in parts of so many bytes while the block runs."""
    from s3fs import core

    with (
        mock.patch.object(core, "calculate_chunksize", lambda *arguments, **options: size),
        mock.patch.object(core.S3FileSystem, "default_block_size", size),
    ):
        yield


def measure(place: Path, checkpoint: Path, endpoint: str, rate: float) -> dict[str, dict]:
    """Return seconds and connections of each way, each through a network of its own."""
    import boto3
    from boto3.s3.transfer import TransferConfig

    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=BUCKET)
    one_a_file = TransferConfig(use_threads=False, multipart_threshold=1 << 40)
    ways = {
        "dvc": lambda url: dvc_way(place, checkpoint, url),
        "plain": lambda url: plain_way(place, checkpoint, url, one_a_file, len(list(checkpoint.iterdir()))),
    }
    return {name: timed(name, way, endpoint, rate) for name, way in ways.items()}


def timed(name: str, way: Callable, endpoint: str, rate: float) -> dict[str, float]:
    """Run the parts of one way, and return the seconds of each and the most connections at once."""
    from loopback.slow_network import SlowNetwork

    found: dict[str, float] = {}
    with SlowNetwork(endpoint, rate, DELAY) as network:
        for part, work in way(network.url).items():
            network.most_at_once = network.connections
            started = time.perf_counter()
            work()
            found[f"{part}_s"] = round(time.perf_counter() - started, 1)
            found[f"{part}_connections"] = network.most_at_once
    print(name, found, flush=True)
    return found


def dvc_way(place: Path, checkpoint: Path, url: str) -> dict[str, Callable]:
    """Push and fetch as `workflow/pipeline/execution/transfer.py` does."""
    import dvc_s3  # noqa: F401 - DVC would import it in the middle
    import s3fs  # noqa: F401 - as above
    from dvc.repo import Repo

    from pipeline.execution.transfer import failures

    os.chdir(place)
    repo = Repo.init(str(place), no_scm=True)
    (place / ".dvc" / "config").write_text(
        "[core]\n    no_scm = true\n    remote = slow\n    analytics = false\n"
        f"['remote \"slow\"']\n    url = s3://{BUCKET}/dvc\n    endpointurl = {url}\n"
    )
    repo = Repo(str(place))
    stage = repo.add(str(checkpoint))[0]

    def objects() -> list:
        return [each for out in stage.outs for each in (out.get_used_objs() or {}).values()]

    def push() -> None:
        assert not failures(repo.cloud, objects())

    def fetch() -> None:
        for group in (known := objects()):
            repo.cache.local.clear()
            assert not repo.cloud.pull(group).failed
        assert known

    return {"upload": push, "download": fetch}


def plain_way(place: Path, checkpoint: Path, url: str, config, streams: int) -> dict[str, Callable]:
    """Give each file a stream of its own, all at once."""
    client = slow_client(url, streams)
    back = place / "back"
    back.mkdir()

    def up(file: Path) -> None:
        client.upload_file(str(file), BUCKET, f"plain/{file.name}", Config=config)

    def down(file: Path) -> None:
        client.download_file(BUCKET, f"plain/{file.name}", str(back / file.name), Config=config)

    def each(do: Callable) -> Callable:
        def work() -> None:
            with ThreadPoolExecutor(streams) as pool:
                list(pool.map(do, sorted(checkpoint.iterdir())))

        return work

    return {"upload": each(up), "download": each(down)}


def slow_client(url: str, streams: int):
    import boto3
    from botocore.config import Config

    # a socket of this machine takes megabytes at once, and then waits long for what moto says
    patient = Config(max_pool_connections=streams, read_timeout=600)
    return boto3.client("s3", endpoint_url=url, config=patient)


if __name__ == "__main__":
    main()
