"""The rewards and rollouts of this project in TRL's GRPOTrainer, sampled on any OpenAI-compatible server.

    pip install '.[trl]'
    miniapr serve --model countdown --port 8000 &
    python examples/trl_grpo.py --server http://127.0.0.1:8000/v1 --reward thread-weaver --steps 10

The model may be any whose tokenizer is in the folder and whose server takes and gives token ids (vLLM, SGLang, ours):
then this is the way to a real model on a cluster, where TRL shards the training and the server samples.

What TRL trains on is one text a rollout: a prompt, and all that followed it in the order in which the threads were
joined, where ``env_mask`` leaves out what was put there. So it is exact for programs in line, and for a join that reads
threads again it is an approximation: thread 2 was written without thread 1 in sight, and is learned with it. (Exact is
``miniapr.rl.trie``.) Whoever serves must serve the policy: between two updates ``publish`` has to bring it there.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from miniapr.engine.branch import Limits
from miniapr.model.bundle import SHIPPED, load
from miniapr.remote.client import Server
from miniapr.remote.engine import RemoteEngine
from miniapr.rl.practice import Practice, practice
from miniapr.rl.rewards import Reward, pay, read_reward
from miniapr.rl.rollouts import Rollout, Unit, Watched

Publish = Callable[[GRPOTrainer], None]


def as_text(root: Unit) -> dict[str, list[Any]]:
    """A tree as TRL wants it: the prompt, and all that follows, with what the model wrote marked."""
    first, *_ = root
    completion, mask, logprobs = list[int](), list[int](), list[float]()
    for unit in root:
        given = unit.given if unit is not first else ()
        completion += [*given, *unit.written]
        mask += [0] * len(given) + [1] * len(unit.written)
        logprobs += [0.0] * len(given) + [*unit.logprobs]
    return {"prompt_ids": list(first.given), "completion_ids": completion, "env_mask": mask, "logprobs": logprobs}


def rollouts_on(
    engine: RemoteEngine, how: Practice, problems: Sequence[Any], publish: Publish, tokens: int
) -> Callable[[list[str], GRPOTrainer], dict[str, list[Any]]]:
    """TRL's ``rollout_func``: one program for each prompt that it hands over (the number of a problem), all of them at
    once. ``publish`` brings the policy's weights to the server. The judged trees are in the field "rollout"."""

    def sample(prompts: list[str], trainer: GRPOTrainer) -> dict[str, list[Any]]:
        publish(trainer)
        asked = [problems[int(prompt)] for prompt in prompts]
        seed = trainer.state.global_step << 20
        watched = [Watched(how.think(problem, seed | i)) for i, problem in enumerate(asked)]
        requests = [engine.submit(watch.program, Limits(tokens)) for watch in watched]
        judged = [
            Rollout(problem, watch.root, how.judge(problem, outcome), how.serial(problem))
            for problem, watch, outcome in zip(asked, watched, map(engine.wait, requests), strict=True)
        ]
        texts = [as_text(rollout.root) for rollout in judged]
        return {name: [text[name] for text in texts] for name in texts[0]} | {"rollout": judged}

    return sample


def as_trl(reward: Reward) -> Callable[..., list[float]]:
    """One of our rewards as one of TRL's."""

    def paid(rollout: Sequence[Rollout], trainer_state: Any, **_: Any) -> list[float]:
        return pay(reward, rollout, trainer_state.global_step)

    paid.__name__ = getattr(getattr(reward, "func", reward), "__name__", "reward")
    return paid


def trainer_for(
    folder: Path,
    engine: RemoteEngine,
    reward: Reward,
    out: Path,
    publish: Publish,
    method: str = "threadweaver",
    tokens: int = 400,
    **options: Any,
) -> GRPOTrainer:
    """P-GRPO as TRL spells it: r - mean, all tokens alike, no KL. ``options``: of GRPOConfig."""
    bundle, dice = load(folder), random.Random(0)
    how = practice(bundle, method, tokens=tokens)
    problems = [how.draw(dice, "train") for _ in range(1000)]
    given: dict[str, Any] = {"scale_rewards": "none", "loss_type": "dapo", "beta": 0.0, "learning_rate": 1e-4}
    given |= {"bf16": torch.cuda.is_available(), "use_cpu": not torch.cuda.is_available(), "report_to": []}
    return GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        processing_class=PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>", eos_token=bundle.control["eos"]
        ),
        reward_funcs=as_trl(reward),
        rollout_func=rollouts_on(engine, how, problems, publish, tokens),
        train_dataset=Dataset.from_dict({"prompt": list(map(str, range(len(problems))))}),
        args=GRPOConfig(output_dir=str(out), **given | options),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=SHIPPED / "countdown", help="folder of weights and tokenizer")
    parser.add_argument("--server", required=True, help="URL of an OpenAI-compatible server of this model, up to /v1")
    parser.add_argument("--name", default="countdown", help="what the server calls it")
    parser.add_argument("--reward", type=read_reward, default="thread-weaver", help="see docs/training/rewards.md")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--samples", type=int, default=8, help="rollouts of a problem")
    parser.add_argument("--out", type=Path, default=Path("runs/trl"))
    args = parser.parse_args()
    engine = RemoteEngine(Server(args.server, args.name), load(args.model).tokenizer)

    def publish(trainer: GRPOTrainer) -> None:
        """Where a server can take new weights, this is the place. What follows is learned one step late if not."""
        trainer.save_model(str(args.out / "policy"))

    try:
        trainer_for(
            *(args.model, engine, args.reward, args.out, publish),
            max_steps=args.steps,
            num_generations=args.samples,
            per_device_train_batch_size=8 * args.samples,
        ).train()
    finally:
        engine.close()


if __name__ == "__main__":
    main()
