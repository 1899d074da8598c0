"""From preferences to two reward models, and to a policy trained on their mix with TRL's GRPO."""

import tempfile
from pathlib import Path

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

import pluralign as pl
from pluralign.lm.backbone import load_backbone

MODEL = "tiny-random"  # try "smollm2-135m"
WORDS = ["aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff", "gggg", "hhhh"]
# One objective prefers short answers, the other answers that end with an exclamation mark.
ROWS = {
    "brief": [{"prompt": f"Say {w}:", "chosen": f" {w}", "rejected": f" {w} {w} {w}"} for w in WORDS],
    "lively": [{"prompt": f"Say {w}:", "chosen": f" {w}!", "rejected": f" {w}."} for w in WORDS],
}

with tempfile.TemporaryDirectory() as folder:
    rewards = []
    for objective, rows in ROWS.items():
        pairs = pl.load_pairs(rows, objective, split="train")
        training = pl.Training(epochs=20, learning_rate=3e-3)
        rewards.append(pl.learn.RewardFunction(pl.fit_reward(pairs, model=MODEL, training=training)))
        print(
            objective, [round(r, 2) for r in rewards[-1](["Say kkkk:"] * 2, [" kkkk!", " kkkk kkkk kkkk."])]
        )
    policy = load_backbone(MODEL)
    trainer = GRPOTrainer(
        policy.model,
        reward_funcs=rewards,
        args=GRPOConfig(
            output_dir=str(Path(folder, "policy")), max_steps=2, per_device_train_batch_size=4,
            num_generations=4, max_completion_length=8, reward_weights=[0.7, 0.3], logging_steps=1,
            bf16=False, use_cpu=True, report_to="none", disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"prompt": f"Say {word}:"} for word in WORDS]),
        processing_class=policy.tokenizer,
    )  # fmt: skip
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "reward" in entry]
    print(
        "steps",
        len(logged),
        "rewards",
        sorted(k for k in logged[-1] if k.endswith("/mean") and "rewards/" in k),
    )
