"""The rewards and rollouts of this project in TRL's GRPOTrainer, sampled on any OpenAI-compatible server.

    pip install '.[trl]'
    miniapr serve --model countdown-roles --port 8000 &
    python examples/trl_grpo.py --server http://127.0.0.1:8000/v1 --reward relative --steps 10

The model may be any whose tokenizer is in the folder and whose server takes and gives token ids (vLLM, SGLang, ours):
then this is the way to a real model on a cluster, where TRL shards the training and the server samples.

What TRL trains on is one text a rollout: a prompt, and all that followed it in the order in which the threads were
joined, where ``env_mask`` leaves out what was put there. So it is exact for programs in line, and for a join that reads
threads again it is an approximation: thread 2 was written without thread 1 in sight, and is learned with it. (Exact is
``miniapr.train.trie``.) Whoever serves must serve the policy: between two updates ``publish`` has to bring it there.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from miniapr.engine.branch import Limits
from miniapr.engine.sampling import Sampling
from miniapr.methods.adaptive import adaptive
from miniapr.methods.grammar import Control
from miniapr.model.bundle import SHIPPED, Bundle, load
from miniapr.remote.client import Server
from miniapr.remote.engine import RemoteEngine
from miniapr.tasks import roles
from miniapr.tasks.states import State
from miniapr.tasks.terse import Countdown
from miniapr.train.rewards import Reward, pay, read_reward
from miniapr.train.rollouts import Rollout, Unit, Watched

TASK = Countdown()


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
    engine: RemoteEngine,
    bundle: Bundle,
    problems: dict[str, State],
    publish: Callable[[GRPOTrainer], None] = lambda trainer: None,
    tokens: int = 400,
) -> Callable[[list[str], GRPOTrainer], dict[str, list[Any]]]:
    """TRL's ``rollout_func``: one program for each prompt that it hands over, all of them at once. ``publish`` brings
    the policy's weights to the server. The judged trees are in the field "rollout", for the rewards."""
    control = Control.of(bundle.tokenizer, bundle.control)

    def sample(prompts: list[str], trainer: GRPOTrainer) -> dict[str, list[Any]]:
        publish(trainer)
        drawn = [Sampling(temperature=1.0, seed=trainer.state.global_step << 20 | i) for i in range(len(prompts))]
        asked = [
            Watched(adaptive(bundle.tokenizer.ids(prompt.split()), control, "reprefill", sampling))
            for prompt, sampling in zip(prompts, drawn, strict=True)
        ]
        for request in [engine.submit(watched.program, Limits(tokens)) for watched in asked]:
            engine.wait(request)
        judged = [judge(watched.root, problems[prompt], bundle) for watched, prompt in zip(asked, prompts, strict=True)]
        texts = [as_text(rollout.root) for rollout in judged]
        return {name: [text[name] for text in texts] for name in texts[0]} | {"rollout": judged}

    return sample


def judge(root: Unit, problem: State, bundle: Bundle) -> Rollout:
    """By the task's exact verifier. In line, the teacher would have written ``serial`` tokens."""
    answer = TASK.answer(bundle.tokenizer.decode(root.last.written), problem)
    serial = len(roles.sequential(problem).written)
    return Rollout(asdict(problem), root, TASK.verify(answer, problem).correct, serial)


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
    publish: Callable[[GRPOTrainer], None],
    **options: Any,
) -> GRPOTrainer:
    """P-GRPO as TRL spells it: r - mean, all tokens alike, no KL. ``options``: of GRPOConfig."""
    bundle = load(folder)
    rng = random.Random(0)
    problems = {TASK.prompt(p, "adaptive"): p for p in (TASK.draw(rng, "train") for _ in range(1000))}
    config = GRPOConfig(
        output_dir=str(out),
        **{"scale_rewards": "none", "loss_type": "dapo", "beta": 0.0, "learning_rate": 1e-4} | options,  # type: ignore
    )
    return GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        processing_class=PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>", eos_token=bundle.control["eos"]
        ),
        reward_funcs=as_trl(reward),
        rollout_func=rollouts_on(engine, bundle, problems, publish),
        train_dataset=Dataset.from_dict({"prompt": list(problems)}),
        args=config,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--model", type=Path, default=SHIPPED / "countdown-roles", help="folder of weights and tokenizer"
    )
    parser.add_argument("--server", required=True, help="URL of an OpenAI-compatible server of this model, up to /v1")
    parser.add_argument("--name", default="countdown-roles", help="what the server calls it")
    parser.add_argument("--reward", type=read_reward, default="relative", help="see docs/training/rewards.md")
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
