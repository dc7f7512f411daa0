// One tree of branches over one model and one pool, a step at a time (miniapr/engine/: engine.py, by_hand.py, forks.py,
// decoding.py, scheduler.py). Greedy, and the pool must be large enough: no prefix cache, nobody gives way.
import { Branch, byPath, NOTHING, written } from "./branch.js";
import { Branching } from "./branching.js";
import { jobsOf } from "./jobs.js";
import { JOINS, READ_KV } from "./joins.js";
import { Piece } from "./span.js";

export const VERSION = 2; // of the events

export class Engine extends Branching {
  /** `limits`: {tokens, width, depth}; `logprobs`: how many alternatives are told of each token. */
  constructor(model, tokenizer, { blocks = 1024, size = 16, limits = { tokens: 100000, width: 64, depth: 8 }, logprobs = 5 } = {}) {
    super(model, blocks, size);
    Object.assign(this, { tokenizer, limits, logprobs, admitted: false });
  }

  // Operations: each changes the tree, and steps until what it waits for is computed

  start(tokens) {
    this.emit("submitted", null);
    return this.perform(() => {
      if (!tokens.length) throw new Error("the prompt is empty: a branch needs at least one token to go on from");
      this.checkTokens(tokens, 0);
      const branch = new Branch(this.numbers.branch++, NOTHING, this.span(0, NOTHING, tokens));
      branch.first = tokens.length;
      this.branches.push(branch);
      this.emit("started", branch, written(branch));
      return { result: () => branch };
    });
  }

  /** Compute branches up to their last token: then `logits` says what comes next. */
  settle(branches) {
    return this.perform(() => {
      for (const branch of branches) branch.require("be computed");
      return { needs: () => branches, result: () => branches };
    });
  }

  /** Append given tokens. */
  extend(branch, tokens) {
    return this.perform(() => {
      branch.require("be extended");
      this.checkTokens(tokens, branch.position);
      this.catchUp(branch);
      branch.span.tokens.push(...tokens);
      branch.logits = null;
      this.emit("extended", branch, { tokens: [...tokens] });
      return { result: () => branch };
    });
  }

  /** Decode branches together, a token each a step, until each has written one of `until`, or so many. */
  decode(branches, until = [], most = this.limits.tokens) {
    return this.perform(() => {
      for (const branch of branches) {
        branch.require("decode");
        if (!branch.logits && branch.ready) throw new Error(`branch ${branch.id} has no token to go on from: give it some`);
      }
      for (const branch of branches) this.catchUp(branch);
      for (const branch of branches) branch.goal = { tokens: new Set(until), limit: most, begun: branch.generated.length };
      const going = () => branches.filter((branch) => branch.goal);
      return { needs: going, done: () => !going().length, result: () => branches };
    });
  }

  /** Split a branch: a child for each seed, the tokens that it begins with. `keep`: how many of the parent's tokens they
   * are given; null: all. Nothing is computed or copied. */
  fork(parent, seeds, keep = null) {
    return this.perform(() => {
      parent.require("fork");
      if (!seeds.length) throw new Error("a fork needs at least one branch, is asked for 0");
      if (parent.span.weave) throw new Error(`branch ${parent.id} is in a weave: join its members before one of them can fork`);
      if (seeds.length > this.limits.width) throw new Error(`${seeds.length} branches asked for, the limit on width is ${this.limits.width}`);
      if (parent.depth >= this.limits.depth) throw new Error(`branch ${parent.id} is ${parent.depth} forks deep, the limit is ${this.limits.depth}`);
      return { needs: () => [parent], result: () => this.split(parent, seeds, keep) };
    });
  }

  /** Have children that were just forked see each other as they write (weave.js). `slot`: positions that each has of its
   * own, in "slots". */
  weave(branches, positions, slot = 0) {
    return this.perform(() => {
      this.entwine(branches, positions, slot);
      return { result: () => branches };
    });
  }

  /** Make branches one again, by a rule of joins.js: its name, or a function. `keep`: leave them as they are, and go on
   * in a new branch beside the parent. */
  join(parent, branches, how, then = [], keep = false) {
    return this.perform(() => {
      const rule = typeof how === "string" ? JOINS[how] : how, sorted = [...branches].sort(byPath);
      if (!sorted.length) throw new Error("a join needs at least one branch");
      for (const branch of sorted) {
        branch.require("be joined");
        if (branch.parent !== parent) throw new Error(`branch ${branch.id} is not a child of branch ${parent.id}`);
      }
      return { needs: () => (READ_KV.has(rule) ? sorted : []), result: () => this.merge(parent, sorted, rule, then, keep) };
    });
  }

  /** Let a branch and its children go. */
  release(branch) {
    this.close(branch, "released");
    this.census();
  }

  // A step

  /** One operation: `begin` checks and starts it, and says what it `needs` computed or decoded, when it is `done` (by
   * itself: when that is computed) and its `result`. A mistake leaves the tree as it was. */
  perform(begin) {
    let operation = null, value = null, error = null, open = true;
    while (open) {
      if (operation) this.sample(operation.needs?.() ?? []);
      try {
        operation ??= begin();
        if (operation.done ? operation.done() : (operation.needs?.() ?? []).every((branch) => branch.ready))
          [value, open] = [operation.result(), false];
      } catch (caught) {
        [error, open] = [caught, false];
      }
      if (!this.admitted && this.branches.length) this.admitted = (this.emit("admitted", null, { restore: 0 }), true);
      try {
        if (open) this.compute(jobsOf(operation.needs(), this.holders));
      } catch (caught) {
        [error, open] = [caught, false];
      }
      this.census();
      this.step += 1;
    }
    for (const branch of this.alive) branch.goal = null;
    if (error) throw error;
    return value;
  }

  /** One token for each branch that decodes and has logits: the likeliest. */
  sample(branches) {
    for (const branch of branches) {
      const { goal, span, logits } = branch;
      if (!goal || !logits || (branch.generated.length === goal.begun && this.stopIfReached(branch))) continue;
      if (this.cost.decoded >= this.limits.tokens) {
        this.stop(branch, "length");
        continue;
      }
      const [token, logprob, alternatives] = likeliest(logits, this.logprobs);
      branch.sampledAt = span.tokens.length;
      span.tokens.push(token);
      branch.generated.push(token);
      branch.logits = null;
      branch.critical += 1;
      this.cost.decoded += 1;
      const said = alternatives.map(([id, likely]) => [id, likely, this.tokenizer.decode([id])]);
      this.emit("decoded", branch, { token, text: this.tokenizer.decode([token]), logprob, alternatives: said });
      this.stopIfReached(branch);
    }
  }

  stopIfReached(branch) {
    const { goal, generated, position, span } = branch, fresh = generated.length - goal.begun;
    const ahead = span.tokens.length ? (span.weave?.ahead(span, span.tokens.length - 1) ?? 0) : 0;
    if (fresh && goal.tokens.has(generated.at(-1))) this.stop(branch, "stop");
    else if (fresh >= goal.limit || this.cost.decoded >= this.limits.tokens) this.stop(branch, "length");
    else if (position + ahead >= this.model.config.max_position_embeddings) this.stop(branch, "context");
    return !branch.goal;
  }

  stop(branch, reason) {
    branch.goal = null;
    this.emit("stopped", branch, { reason });
  }

  /** All jobs in one forward pass. */
  compute(jobs) {
    if (!jobs.length) return;
    const batch = { tokens: [], positions: [], slots: [], sees: [], wanted: [] }, finished = [];
    for (const { span, stop } of jobs) this.kv.grow(span, stop);
    for (const { branch, span, start, stop } of jobs) {
      const lies = (piece) => ({ slots: this.kv.slots(piece), shift: piece.shift }), seen = branch.view.pieces.map(lies);
      const slots = this.kv.slots(new Piece(span, 0, stop));
      for (let i = start; i < stop; i++) {
        batch.tokens.push(span.tokens[i]);
        batch.positions.push(span.position + i);
        batch.slots.push(slots[i]);
        batch.sees.push(span.weave ? span.weave.sees(span, i + 1).map(lies) : [...seen, { slots: slots.subarray(0, i + 1), shift: 0 }]);
      }
      if (stop === span.tokens.length) {
        finished.push(branch);
        batch.wanted.push(batch.tokens.length - 1);
      }
    }
    const logits = this.model.compute(batch, this.kv);
    finished.forEach((branch, i) => (branch.logits = logits[i]));
    jobs.forEach((job) => this.computed(job));
    this.cost.steps += 1;
    const { free, count } = this.kv;
    this.emit("step", null, { rows: batch.tokens.length, seconds: 0, free: free.length, cached: 0, used: count - free.length }, null);
  }

  /** Book a job that was done. */
  computed({ branch, span, start, stop }) {
    let count = stop - start;
    this.cost.recomputed += Math.max(0, Math.min(stop, span.again) - start);
    span.written = stop;
    [span.again, span.peak] = [Math.max(span.again, stop), Math.max(span.peak, stop)];
    if (branch.sampledAt !== null && start <= branch.sampledAt && branch.sampledAt < stop) {
      branch.sampledAt = null;
      count -= 1;
    }
    this.cost.prefilled += count;
    this.emit("computed", branch, { span: span.id, start, stop, blocks: this.kv.blocks(new Piece(span, start, stop)) });
  }
}

/** The likeliest token, the logarithm of its probability, and the likeliest of all with theirs. */
function likeliest(logits, count) {
  const best = []; // of equal ones the first
  for (let id = 0, wide = Math.max(count, 1); id < logits.length; id++) {
    if (best.length === wide && logits[best[wide - 1]] >= logits[id]) continue;
    let at = best.length;
    while (at > 0 && logits[best[at - 1]] < logits[id]) at -= 1;
    best.splice(at, 0, id);
    best.length = Math.min(best.length, wide);
  }
  const most = logits[best[0]];
  const total = most + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0));
  if (!Number.isFinite(total)) throw new Error("the model's logits hold NaN or infinity");
  return [best[0], most - total, best.slice(0, count).map((id) => [id, logits[id] - total])];
}
