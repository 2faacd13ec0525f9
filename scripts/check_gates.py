"""Hold the scores of a run against its gates, and end with 1 unless it keeps all of them.

    python scripts/launch.py python scripts/check_gates.py --config config/runs/polite.yaml --sections gates
        --evaluation metrics/evaluation/polite.json --metrics metrics/gates/polite.json

In:  the run's `gates:`, its scores, and those of the runs that a gate names (--against-evaluation, --against-harness).
Out: one JSON file with the intervals that decided, when all gates are kept. When one is not, there is no file: each is
     told in the log, and what stands on the run's gates waits.
"""

import argparse
import json
from pathlib import Path

from heirloom import stage
from heirloom.artifacts import new_artifact
from heirloom.config.parsing.reading import read_yaml
from heirloom.errors import HeirloomError, plain
from heirloom.report.gates import add_others, check_gates
from heirloom.report.run_results import read_json
from heirloom.stage_arguments import output_path, stage_parser


def main() -> None:
    options = parse_arguments()
    gates = read_yaml(options.config)["gates"]
    own = [read_json(file) if file else {} for file in (options.evaluation, options.harness)]
    evaluations, harnesses = dict(options.against_evaluation), dict(options.against_harness)
    others = {
        name: tuple(read_json(files[name]) if name in files else {} for files in (evaluations, harnesses))
        for name in {**evaluations, **harnesses}
    }
    found = check_gates(gates, *own, others)
    for gate in found:
        print(
            plain(f"{'passed' if gate['passed'] else 'FAILED'}  {gate['name']} {gate['said']}: {gate['why']}"),
            flush=True,
        )
    failed = [f"{gate['name']} {gate['said']}: {gate['why']}" for gate in found if not gate["passed"]]
    if failed:
        raise HeirloomError(
            f"{len(failed)} of {len(found)} gates of {options.config} are not kept: {'; '.join(failed)}: improve the "
            "run, evaluate on more prompts where one cannot decide, or change the gate"
        )
    with new_artifact(options.metrics) as partial:
        partial.write_text(json.dumps({"gates": found}, indent=2) + "\n", encoding="utf-8")


def parse_arguments() -> argparse.Namespace:
    parser = stage_parser(__doc__, config="run file with `gates:`", sections=("gates",))
    parser.add_argument("--evaluation", type=Path, help="the run's scores, JSON")
    parser.add_argument("--harness", type=Path, help="its scores of the lm-evaluation-harness, JSON")
    add_others(parser)
    parser.add_argument("--metrics", type=output_path, required=True, help="JSON file to write")
    return parser.parse_args()


if __name__ == "__main__":
    stage.run(main)
