// The engine of the pages, asked by the tests: a line of JSON in, a line of JSON out. The first line is the model.
//     node tests/engine.mjs folder-of-the-engine weights
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const load = (name) => import(pathToFileURL(`${process.argv[2]}/${name}.js`));
const [{ bundleOf, Play }, { Engine }, { message }] = await Promise.all(["play", "engine", "joins"].map(load));
const file = new Uint8Array(readFileSync(process.argv[3])).buffer;
let bundle = null;

/** Commands at a page: the state after each. */
function played({ prompt, lines }) {
  const play = new Play(bundle, prompt);
  return [play.state(), ...lines.map((line) => play.do(line))];
}

/** Operations, branches by their numbers: the events, the costs, what was refused, and the logits after each branch. */
function programmed({ prompt, acts, options }) {
  const engine = new Engine(bundle.model, bundle.tokenizer, options);
  engine.start(prompt);
  const one = (id) => engine.branches.find((branch) => branch.id === id);
  const does = {
    settle: ({ who }) => engine.settle(who.map(one)),
    extend: ({ who, tokens }) => engine.extend(one(who), tokens),
    decode: ({ who, until, most }) => engine.decode(who.map(one), until, most),
    fork: ({ who, seeds, keep }) => engine.fork(one(who), seeds, keep),
    weave: ({ who, positions, slot }) => engine.weave(who.map(one), positions, slot ?? 0),
    join: ({ who, which, how, then, beside }) => engine.join(one(who), which.map(one), how, then, beside),
    message: ({ who, which, tokens, keep, beside }) => engine.join(one(who), which.map(one), message(tokens, keep), [], beside),
    release: ({ who }) => engine.release(one(who)),
  };
  const refused = acts.map((act) => {
    try {
      does[act.kind](act);
      return null;
    } catch (error) {
      return error.message;
    }
  });
  const logits = Object.fromEntries(engine.alive.filter((branch) => branch.logits).map((branch) => [branch.id, [...branch.logits]]));
  return { events: engine.events, cost: engine.cost, refused, logits };
}

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  if (asked.model) bundle = bundleOf(asked.model, file);
  const answer = asked.model ? null : asked.acts ? programmed(asked) : played(asked);
  process.stdout.write(`${JSON.stringify(answer, (_, value) => (typeof value === "number" && !Number.isFinite(value) ? String(value) : value))}\n`);
}
