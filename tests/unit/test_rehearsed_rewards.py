"""What a rehearsal leaves of a run that learns from rewards."""

import pytest

from heirloom.config.run import Run
from heirloom.rehearsal.smaller_config import smaller_run

TRAINING = {"global_batch_size": 64, "max_completion_length": 256}


@pytest.mark.parametrize(("function", "longest"), [("exact_match", 4), ("length", 256)])
def test_a_share_of_the_longest_answer_stays_what_it_is(function, longest):
    """Four tokens are less than the references have: a reward that the run tries well was refused in its rehearsal."""
    training = TRAINING | {"rewards": [{"function": "exact_match"}, {"function": function, "weight": -1, "name": "x"}]}
    base = {"base": "tiny", "dataset": "rows", "trainer": "grpo", "training": training}
    run, problems = Run.check(base, "config/runs/x.yaml")
    assert not problems
    assert smaller_run(run)[0]["training"]["max_completion_length"] == longest
