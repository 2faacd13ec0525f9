"""The machines of a run's stages, and the ranks that train on them."""

import re

import pytest

from heirloom.config.arguments.instance_types import ranks
from heirloom.config.sections.resources import ResourcesSection

PLAN = "arn:aws:sagemaker:eu-west-1:123456789012:training-plan/p5-of-may"


@pytest.mark.parametrize(
    ("instance_type", "count", "expected"),
    [
        (None, None, 2),  # this machine, unknown to the configuration: as on a CPU
        ("ml.c5.4xlarge", 4, 2),  # without GPUs two ranks in total, whatever the hosts
        ("ml.m6i.large", 1, 2),
        ("ml.p4d.24xlarge", 2, 16),
        ("ml.p4d.24xlarge", None, 8),
        ("ml.g5.xlarge", 1, 1),
        ("ml.g5.12xlarge", 2, 8),
        ("ml.g6e.48xlarge", 1, 8),
        ("ml.p9.48xlarge", 1, None),
    ],
)
def test_ranks_follow_from_the_instances(instance_type, count, expected):
    assert ranks(instance_type, count) == expected


def test_a_stage_takes_its_own_machine_key_by_key():
    resources = ResourcesSection.model_validate(
        {
            "instance_type": "ml.p4d.24xlarge",
            "instance_count": 2,
            "volume_size": 500,
            "nodes": 4,
            "gpus_per_node": 8,
            "generation": {"instance_type": "ml.g5.12xlarge", "instance_count": 1, "nodes": 1},
        }
    )
    generation = resources.machines("generation")
    assert generation.model_dump(exclude_none=True) == {
        "instance_type": "ml.g5.12xlarge",
        "instance_count": 1,
        "volume_size": 500,
    } | {
        "nodes": 1,
        "gpus_per_node": 8,
    }
    assert resources.machines("evaluation") == resources.machines("training")
    assert resources.machines("training").instance_count == 2


def test_only_the_keys_of_the_trainer_go_to_the_trainer():
    resources = ResourcesSection.model_validate({"instance_type": "ml.g5.xlarge", "dataloader_num_workers": 4})
    expected = {"dataloader_num_workers": 4, "dataloader_persistent_workers": False, "ddp_timeout": 1800}
    assert resources.arguments == expected


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({"max_wait": 9}, "max_wait: max_wait limits the wait for spot capacity: add `spot: true`, or remove it"),
        ({"spot": True, "max_wait": 9, "max_runtime": 10}, "max_wait: must be at least max_runtime (10)"),
        ({"spot": True, "generation": {"keep_alive": 9}}, "generation: spot capacity knows no warm pools"),
        (
            {"instance_type": "ml.m5.xlarge", "max_pending": 3600},
            "max_pending: SageMaker heeds max_pending for machines",
        ),
        ({"instance_type": "ml.g5.xlarge", "max_pending": 60}, "greater than or equal to 1800"),
        ({"training_plan_arn": PLAN, "spot": True}, "training_plan_arn: a plan's machines are reserved, no spot"),
        ({"training_plan_arn": PLAN, "instance_type": ["a", "b"]}, "training_plan_arn: a plan's machines are of one"),
        ({"training_plan_arn": "my-plan"}, "String should match pattern"),
        ({"maximum_retry_attempts": 31}, "less than or equal to 30"),
        (
            {"instance_type": ["ml.g5.xlarge", "ml.g5.xlarge"]},
            "instance_type: expected one instance type or more, each",
        ),
        ({"generation": {"instance_type": []}}, "generation: expected one instance type or more"),
        ({"tags": {"team": "a,b"}}, "tags: team: SageMaker's tags are letters"),
        ({"evaluation": {"tags": {"a=b": "c"}}}, "tags: a=b: SageMaker's tags are letters"),
    ],
)
def test_keys_of_sagemaker_that_cannot_stand_together_are_refused(section, problem):
    with pytest.raises(ValueError, match=re.escape(problem)):
        ResourcesSection.model_validate(section)


def test_a_stage_may_leave_spot_capacity_to_the_others():
    shared = {"spot": True, "max_wait": 99, "max_runtime": 9, "evaluation": {"spot": False}}
    resources = ResourcesSection.model_validate(shared)
    assert resources.machines("training").max_wait == 99
    assert resources.machines("evaluation").max_wait is None
