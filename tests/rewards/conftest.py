import torch
from tiny_rewards import made as made

# The tensors of these tests are tiny: a second thread only waits, and does so for long on a busy machine.
torch.set_num_threads(1)
