"""A version of a model as a git tag, `NAME@v1.0.0`: the convention of DVC's and Iterative's registry, written by GTO.

https://doc.dvc.org/gto. `dvc artifacts get . NAME` brings the checkpoint that dvc.lock of the tagged commit records.
"""

from heirloom.errors import HeirloomError

FIRST = "v1.0.0"


def tag_version(name: str, commit: str, version: str | None, message: str, push: bool) -> tuple[str, bool]:
    """Tag a commit as a version of `name`, and return the tag and whether it is new; one commit has one version.

    Without a `version` the first is v1.0.0, and later ones GTO's next. `push`: to origin. Raises HeirloomError.
    """
    from gto.api import register
    from gto.exceptions import GTOException
    from gto.registry import GitRegistry
    from scmrepo.exceptions import SCMError

    try:
        with GitRegistry.from_url(".") as registry:
            artifact = registry.find_artifact(name, create_new=True)
            known = artifact.find_version(commit_hexsha=commit)
            if known is not None and known.is_registered:
                if version not in (None, known.version):
                    raise HeirloomError(
                        f"git: commit {commit[:12]} is {name}@{known.version} already: a version is a commit of its own"
                    )
                return f"{name}@{known.version}", False
            if version is None and not artifact.get_latest_version(registered_only=True):
                version = FIRST
        made = register(".", name, commit, version=version, message=message, push=push)
    except (GTOException, SCMError) as error:
        raise HeirloomError(f"git: {name} cannot be tagged: {' '.join(str(error).split())}") from None
    return made.ref, True
