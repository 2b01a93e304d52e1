"""Training: one network, shared weights, both inputs through it, pulled and pushed by a metric-learning loss.

It proceeds in rounds of `schedule.check_every` steps. Each round seeds every generator anew from the recipe's seed and
its own number, so that what a round does follows from the state at its start: a run that was killed goes on from the
last finished round and comes to the same weights. loop.py holds the rounds, trainer.py a step, start.py what a training
begins with where weights are not drawn, checkpoints.py what is kept between rounds, watch.py and collapse.py what is
looked at after each, progress.py what is shown.
"""

from model_export.training.loop import is_finished, train
from model_export.training.run_folder import make_modality, make_network

__all__ = ["is_finished", "make_modality", "make_network", "train"]
