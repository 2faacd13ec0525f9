"""Put a run that passed its gates into a registry: SageMaker's, a repository of the hub, a git tag.

    python scripts/register.py polite --to git                       # the tag polite@v1.0.0 of this commit
    python scripts/register.py polite --to git --push                # the same, at origin too
    python scripts/register.py polite --to hub --repository owner/polite --public
    python scripts/register.py polite --to sagemaker --s3-prefix s3://bucket/models
    python scripts/register.py polite --to git hub --repository owner/polite --version v2.0.0

In:  a run whose gate-RUN holds for config, code and data as they are now, in a commit that records it.
Out: a version of its checkpoint in each registry. What is registered already is said, and not registered twice.
Exit status: 0 when the checkpoint is in each registry that was named, else 1 with a sentence. See docs/registries.md.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "workflow"))

from heirloom.errors import plain
from heirloom.failures import ends_in_one_sentence
from heirloom.publishing.hub_repository import push_folder
from heirloom.publishing.model_packages import register_package
from heirloom.publishing.version_tags import tag_version
from heirloom.report.terminal_text import forgive_characters
from pipeline.upkeep import Passed, passed_run

REGISTRIES = ("sagemaker", "hub", "git")


def main() -> None:
    forgive_characters()
    os.chdir(Path(__file__).resolve().parents[1])
    options = parse_arguments()
    with ends_in_one_sentence(f"registering {options.run}"):
        passed = passed_run(options.run, with_data=options.to != ["git"])
        for gate in passed.gates:
            print(plain(f"passed  {gate['name']} {gate['said']}: {gate['why']}"))
        for registry in (name for name in REGISTRIES if name in options.to):
            print(plain(REGISTER[registry](passed, options)), flush=True)


def to_sagemaker(passed: Passed, options: argparse.Namespace) -> str:
    arn, new = register_package(
        options.name or passed.run.replace("_", "-"),
        passed.checkpoint,
        passed.md5,
        options.s3_prefix,
        passed.gates,
        passed.commit,
        options.image,
    )
    return f"{arn}: {'registered, pending approval' if new else 'registered already'}"


def to_hub(passed: Passed, options: argparse.Namespace) -> str:
    said = "\n".join(f"- {gate['name']} {gate['said']}: {gate['why']}" for gate in passed.gates)
    commit = push_folder(
        passed.checkpoint,
        options.repository,
        message=f"{passed.run} of {passed.commit[:12]}",
        description=f"Trained and gated at commit {passed.commit}.\n\n{said}",
        tag=options.version,
        public=options.public,
    )
    return f"{options.repository}: holds {passed.checkpoint} in commit {commit}"


def to_git(passed: Passed, options: argparse.Namespace) -> str:
    said = "; ".join(f"{gate['name']} {gate['said']}" for gate in passed.gates)
    tag, new = tag_version(passed.run, passed.commit, options.version, f"{passed.run} keeps {said}", options.push)
    return f"{tag}: {'tagged' if new else 'tagged already'}{', at origin too' if new and options.push else ''}"


REGISTER = {"sagemaker": to_sagemaker, "hub": to_hub, "git": to_git}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="of a file in config/runs/ with `gates:`, without .yaml")
    parser.add_argument("--to", nargs="+", choices=REGISTRIES, required=True, help="where it goes, one or several")
    parser.add_argument("--version", help="git's and the hub's tag, v1.2.0; absent: git's next, and none on the hub")
    parser.add_argument("--push", action="store_true", help="git: push the tag to origin")
    parser.add_argument("--repository", metavar="OWNER/NAME", help="hub: which one; it is made where it is new")
    parser.add_argument("--public", action="store_true", help="hub: a new repository is public; absent: private")
    parser.add_argument(
        "--s3-prefix", metavar="S3://BUCKET/PREFIX", help="sagemaker: where checkpoints are served from"
    )
    parser.add_argument("--name", help="sagemaker: of the package group; absent: the run's")
    parser.add_argument("--image", help="sagemaker: the container that serves the model, where it is known")
    options = parser.parse_args()
    of_one = {
        "hub": {"--repository": options.repository, "--public": options.public},
        "sagemaker": {"--s3-prefix": options.s3_prefix, "--name": options.name, "--image": options.image},
        "git": {"--push": options.push},
    }
    for registry, flags in of_one.items():
        given = [flag for flag, value in flags.items() if value]
        if given and registry not in options.to:
            parser.error(f"{given[0]} is for --to {registry}: add it, or leave the flag out")
    for registry, flag in (("hub", "--repository"), ("sagemaker", "--s3-prefix")):
        if registry in options.to and not of_one[registry][flag]:
            parser.error(f"--to {registry} needs {flag}")
    if options.version is not None and options.to == ["sagemaker"]:
        parser.error("--version is for git and hub: SageMaker numbers its versions by itself")
    return options


if __name__ == "__main__":
    main()
