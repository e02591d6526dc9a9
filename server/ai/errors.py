"""What is wrong with what a model should be asked, before anybody is asked."""


class OptimizeError(Exception):
    """An optimisation cannot begin."""


class InvalidTemplate(OptimizeError):
    """A template is none that a model can be asked with; `reason` says why, in words of ours."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NothingToOptimize(OptimizeError):
    """There is no text: the prompt has none, and none was sent."""


class ModelNotChosen(OptimizeError):
    """No model is named, and the user prefers none."""
