"""A batch for a farm: an Open Job Description template whose tasks are commands of ``streammat video``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any, Final

from streammat.batch.plan import Plan, arguments_of
from streammat.errors import OutputError, first_line

VERSION: Final = "jobtemplate-2023-09"
"""Version of Open Job Description."""
_LONGEST_NAME: Final = 64


def openjd_template(name: str, plans: Sequence[Plan], warm_up: float) -> dict[str, Any]:
    """Return the template: a step for each shot, a task for each shard of a sequence and for each clip.

    Every task can be run again. Clips are not cut: their pieces would need another step that waits for them and joins them.

    Args:
        name: name of the job.
        plans: plans of its shots; clips are in one shard.
        warm_up: seconds that are matted before a shard and not written.
    """
    return {"specificationVersion": VERSION, "name": name[-128:], "steps": [_step(plan, warm_up) for plan in plans]}


def make_folders(plans: Sequence[Plan]) -> None:
    """Make the folders of the outputs, which ``streammat video`` expects.

    Raises:
        OutputError: one cannot be made.
    """
    for folder in sorted({os.path.dirname(os.path.abspath(path)) for plan in plans for _, path in plan.shot.outputs}):
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be made ({first_line(error)}); check the path and its permissions") from error


def _step(plan: Plan, warm_up: float) -> dict[str, Any]:
    shot = plan.shot
    outputs = {kind: os.path.abspath(path) for kind, path in shot.outputs}
    words = shot.command(outputs, "-y")
    words[1] = os.path.abspath(shot.source)
    name = shot.name
    if len(name) > _LONGEST_NAME:  # what makes it unlike others may be at its end
        digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
        name = f"{name[: _LONGEST_NAME - len(digest) - 1]}-{digest}"
    step: dict[str, Any] = {"name": name}
    if len(plan.shards) > 1:
        parts = [arguments_of(shot, shard, plan.shards, plan.rate, warm_up) for shard in plan.shards]
        frames = [part[0].removeprefix("--frames=") for part in parts]
        step["parameterSpace"] = {"taskParameterDefinitions": [{"name": "Frames", "type": "STRING", "range": frames}]}
        words += ["--frames={{Task.Param.Frames}}", *parts[0][1:]]
    step["script"] = {"actions": {"onRun": {"command": "streammat", "args": words}}}
    return step
