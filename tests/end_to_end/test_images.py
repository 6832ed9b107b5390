"""A point with images as a user runs it, beside its text point."""

import pytest

from tests.end_to_end.conftest import Lab
from tests.stages.test_image_point import IMAGES


@pytest.mark.slow
def test_a_point_with_images_shares_the_base_of_its_text_point_and_both_are_judged(lab: Lab) -> None:
    for words in (("rl=off", *IMAGES[-3:]), IMAGES):
        run = lab.run(*words)
        assert run.returncode == 0, run.stdout + run.stderr
    counts = {stage: len(lab.manifests(stage)) for stage in ("data", "bench", "base", "vision", "sft", "eval")}
    assert counts == {"data": 1, "bench": 1, "base": 1, "vision": 1, "sft": 2, "eval": 2}
    assert all("eval/visual/macro_f1" in metrics for metrics in lab.metrics().values())
