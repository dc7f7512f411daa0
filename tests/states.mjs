// What the stepper makes of a trace: its state after every step of the engine, as JSON.
//     node tests/states.mjs static-folder < trace.json
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { Run } = await import(pathToFileURL(`${process.argv[2]}/run.js`));
const { fared, rows } = await import(pathToFileURL(`${process.argv[2]}/rows.js`));
const run = new Run(JSON.parse(readFileSync(0, "utf8")).runs[0]);

function picture(state) {
  const branches = {}, spans = {};
  for (const b of state.branches.values()) {
    if (!b.alive) continue;
    branches[b.id] = { view: b.view, span: b.span, next: state.next(b.id) };
    for (const id of [...b.view.map(([span]) => span), b.span]) {
      const { tokens, position, written, blocks } = state.spans.get(id);
      spans[id] = { tokens, position, written, blocks };
    }
  }
  return JSON.stringify({ branches, spans, refs: Object.fromEntries(state.refs) });
}

const last = new Map(); // step -> its last frame
run.frames.forEach((frame, i) => last.set(run.events[frame.last].step, i));
const told = {}; // as text at once: the state is the run's own, and goes on
for (const [step, i] of last) told[step] = picture(run.at(i));
// Jumping about must give the same as going on: the states kept on the way are not changed afterwards.
for (const [step, i] of [...last].reverse())
  if (picture(run.at(i)) !== told[step]) throw new Error(`frame ${i} differs when it is jumped to`);
for (const step of Object.keys(told)) told[step] = JSON.parse(told[step]);
const end = run.length ? run.at(run.length - 1) : null;
const alive = end ? [...end.branches.values()].filter((branch) => branch.alive) : [];
const standing = Object.fromEntries(alive.map(({ id }) => [id, end.standing(id)]));
const spans = [...(end?.spans.values() ?? [])].filter(({ read, tokens }) => read && tokens.length);
const read = Object.fromEntries(spans.map(({ id, read, tokens }) => [id, tokens.slice(0, read)]));
const lanes = end ? rows(end).map(({ branch, depth }) => [branch.id, depth, fared(branch).join(", ")]) : [];
console.log(JSON.stringify({ told, counters: end?.counters ?? null, standing, read, lanes }));
