"""An MLServer runtime around scikit-learn's whose answers take as long as those of a larger model.

The digits are answered within a millisecond; a release worth a canary is not. `lasts_ms` (a free parameter in
model-settings.json) is the whole duration, work included, so a busy machine does not change how the releases compare.
"""

import asyncio
import time

from mlserver.types import InferenceRequest, InferenceResponse
from mlserver_sklearn import SKLearnModel


class SlowSKLearnModel(SKLearnModel):
    """Answers like scikit-learn's runtime, `lasts_ms` after it was asked."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        due = time.perf_counter() + self.settings.parameters.extra["lasts_ms"] / 1000
        answer = await super().predict(payload)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        return answer
