"""What a training job asks for: the run's keys, else the profile's, in the names of the executor plugin."""

from pipeline.graph.stages import Stage
from pipeline.session.sagemaker_submission import job_resources, other_number_of_gpus

PROFILE = {"spot": 1, "max_wait": 7200, "keep_alive": 600, "tags": "owner=me", "instance_type": "ml.m5.xlarge"}
COMMANDS = {"process": "python scripts/launch.py python x.py", "train": "python scripts/launch.py torchrun x.py"}


def asked(kind: str = "train", profile: dict = PROFILE, **run) -> dict:
    found = job_resources(Stage(kind=kind, subject="x", cmd=COMMANDS[kind], resources=run), profile.get)
    return {name: value for name, value in found.items() if value is not None}


def test_what_the_run_says_comes_first_key_by_key():
    own = asked(instance_type="ml.g5.xlarge", image="other:1", max_runtime=60, efa=False, volume_size=9)
    assert (own["instance_type"], own["image"], own["max_runtime"]) == ("ml.g5.xlarge", "other:1", 60)
    assert (own["efa"], own["volume_size"], own["spot"], own["max_wait"]) == (0, 9, 1, 7200)
    assert asked(profile={})["record"] == ".heirloom/costs/train-x.json"
    assert "instance_type" not in asked(profile={})


def test_a_list_of_instance_types_tells_the_ranks_of_each():
    several = asked(instance_type=["ml.p4d.24xlarge", "ml.p5.48xlarge", "ml.g6e.12xlarge", "ml.p9.x"], instance_count=2)
    assert several["instance_type"] == "ml.p4d.24xlarge,ml.p5.48xlarge,ml.g6e.12xlarge,ml.p9.x"
    assert several["instance_ranks"] == "16,16,8,0"
    assert asked(instance_type=["ml.g5.xlarge"])["instance_type"] == "ml.g5.xlarge"
    assert asked(profile={"instance_type": "ml.m5.xlarge, ml.c5.xlarge"})["instance_ranks"] == "2,2"


def test_what_the_profile_says_of_spot_capacity_never_contradicts_a_run():
    assert "max_wait" not in asked(spot=False)
    assert asked(spot=False)["spot"] == 0 and asked(spot=False)["keep_alive"] == 600
    assert "keep_alive" not in asked()
    assert asked(profile={}, spot=True, max_wait=99)["max_wait"] == 99


def test_only_stages_with_ranks_keep_work_in_progress():
    assert asked("train")["checkpoints"] == 1
    assert asked("process")["checkpoints"] == 0


def test_other_hosts_join_the_first():
    assert "worker_command" not in asked(instance_count=1)
    assert asked(instance_count=2)["worker_command"] == "python workflow/pipeline join train-x"


def test_a_job_returns_its_record_and_its_own_products_only():
    stage = Stage(kind="train", subject="x", cmd=COMMANDS["train"], outs=("checkpoints/x",), metrics=("m/x.json",))
    returned = job_resources(stage, PROFILE.get)["return_files"].split(",")
    recorded = [".heirloom/records/train-x.json", ".heirloom/throughput/train-x.csv"]
    assert sorted(returned) == [*recorded, "checkpoints/x", "m/x.json"]


def test_every_job_is_tagged_with_its_stage():
    assert asked(tags={"team": "a b", "cost": "1=2"})["tags"] == "owner=me,heirloom:stage=train-x,team=a b,cost=1=2"


def test_an_instance_has_the_gpus_that_it_has():
    def told(profiles: str = "ml.m5.xlarge", **run) -> str | None:
        return other_number_of_gpus(Stage(kind="train", subject="x", cmd=COMMANDS["train"], resources=run), profiles)

    assert told() is told(gpus_per_node=8, instance_type="ml.p4d.24xlarge") is told(gpus_per_node=0) is None
    assert told(gpus_per_node=1, instance_type="ml.new9.xlarge") is None  # not known here
    assert told(gpus_per_node=1, instance_type="ml.p4d.24xlarge") == (
        "train-x: resources.gpus_per_node: 1, and an ml.p4d.24xlarge has 8, all of which a job gets: take it out, or "
        "choose another instance_type"
    )
    assert "an ml.m5.xlarge has 0" in told(gpus_per_node=1)
