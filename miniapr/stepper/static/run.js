// A run, from its events alone: cut into frames, each what a person wants to see as one step, and the state after each.
//
// `at(i)` goes on from the last state asked for, or from the nearest of the states kept every 64 frames, so a scrubber
// may jump.

import { APPLY } from "./happened.js";
import { State } from "./state.js";

const KEEP = 64;
const BEGIN = new Set(["started", "forked", "joined"]); // each is a frame of its own,
const BEFORE = new Set(["submitted", "admitted", "sealed", "woven", "copied", "merged", "released", "ended", "scored", "pool"]); // with what led to it

function cut(events) {
  const frames = [];
  let step = null, open = null, waiting = null; // what is not worth a frame goes into the next one of its step
  const close = () => (open = null);
  events.forEach((event, i) => {
    const { kind } = event, shown = kind in APPLY && !["pool", "sealed", "woven", "scored"].includes(kind);
    if (event.step !== step) close();
    if (BEGIN.has(kind) && open && ![...open.kinds].every((k) => BEFORE.has(k))) close();
    if (!open && !shown && (event.step !== step || !frames.length || waiting !== null)) waiting ??= i;
    step = event.step;
    if (!open && shown) {
      frames.push((open = { first: waiting ?? i, last: i, kinds: new Set(), phase: 0 }));
      for (let j = open.first; j < i; j++) open.kinds.add(events[j].kind);
      waiting = null;
    }
    if (waiting !== null || !frames.length) return;
    const frame = open ?? frames.at(-1);
    frame.last = i;
    frame.kinds.add(kind);
    if (BEGIN.has(kind)) close();
  });
  if (waiting !== null && frames.length) frames.at(-1).last = events.length - 1;
  let phase = 0;
  for (const frame of frames) {
    if (frame.kinds.has("forked") || frame.kinds.has("joined")) phase += 1;
    frame.phase = phase;
  }
  return frames;
}

export class Run {
  constructor({ title, about, events, outcome }) {
    Object.assign(this, { title, about, events, outcome, size: about.block_size });
    this.frames = cut(events);
    this.kept = [[-1, new State()]];
    this.here = -1;
    this.state = new State();
    // Who decoded what: (span, index) -> the event, once for all frames, since spans are never rewritten.
    this.said = new Map();
    const open = new Map();
    for (const event of events) {
      const { kind, branch, data } = event;
      if (kind === "forked") for (const child of data.children) open.set(child.branch, [child.span, child.tokens.length]);
      else if (kind === "woven") for (const member of data.members) open.set(member.branch, [member.span, member.tokens.length]);
      else if (data.view) open.set(branch, [data.span, data.tokens.length]);
      if (kind === "extended") open.get(branch)[1] += data.tokens.length;
      if (kind === "decoded") this.said.set(`${open.get(branch)[0]}/${open.get(branch)[1]++}`, event);
      // A token that moves on to a new span when its own is sealed keeps what was said of it.
      if (kind === "sealed" && data.tokens.length) {
        const last = [...this.said.entries()].reverse().find(([, e]) => e.branch === branch);
        if (last) this.said.set(`${data.span}/${data.tokens.length - 1}`, last[1]);
      }
    }
  }

  get length() {
    return this.frames.length;
  }

  /** The state after frame i. It is the run's own: do not change it, do not keep it. */
  at(i) {
    if (i < this.here || i - this.here > KEEP) {
      const [from, kept] = this.kept.findLast(([at]) => at <= i);
      if (i < this.here || from > this.here) [this.here, this.state] = [from, kept.clone()];
    }
    while (this.here < i) {
      const frame = this.frames[++this.here];
      for (let j = frame.first; j <= frame.last; j++) APPLY[this.events[j].kind]?.(this.state, this.events[j], this.size);
      const last = this.kept[this.kept.length - 1][0];
      if (this.here >= last + KEEP) this.kept.push([this.here, this.state.clone()]);
    }
    return this.state;
  }

  text(id) {
    return this.about.texts[id] ?? `#${id}`;
  }

  /** Token i of a span as text. */
  word(span, i) {
    return this.text(span.tokens[i]);
  }
}

/** Runs side by side, in lock-step: column i of every run belongs together. Between two forks or joins each run takes
 * as many columns as the longest; one that has less to do waits at its last frame. */
export function align(runs) {
  const phases = Math.max(...runs.map((run) => run.frames.at(-1)?.phase ?? 0));
  const columns = runs.map(() => []);
  for (let phase = 0; phase <= phases; phase++) {
    const parts = runs.map((run) => run.frames.flatMap((frame, i) => (frame.phase === phase ? [i] : [])));
    const longest = Math.max(...parts.map((part) => part.length));
    parts.forEach((part, r) => {
      const last = part.at(-1) ?? columns[r].at(-1) ?? 0;
      for (let i = 0; i < longest; i++) columns[r].push(part[i] ?? last);
    });
  }
  return columns;
}
