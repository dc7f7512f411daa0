// What branches write into: spans begun, sealed and woven (miniapr/engine/spans.py). No model is run here.
import { written } from "./branch.js";
import { KVCache } from "./cache.js";
import { Span } from "./span.js";
import { Weave } from "./weave.js";

/** One tree: its branches, and what has happened. */
export class Spans {
  constructor(model, blocks, size) {
    Object.assign(this, { model, kv: new KVCache(model, blocks, size), branches: [], left: new Set(), events: [], step: 0, told: new Int32Array(blocks) });
    this.numbers = { span: 0, branch: 0 };
    this.cost = { decoded: 0, prefilled: 0, recomputed: 0, reused: 0, bytes_moved: 0, keys_shifted: 0, steps: 0 };
  }

  get alive() {
    return this.branches.filter((branch) => branch.state === "alive");
  }

  /** Whose views and open spans the tree stands on: those alive, and those that have left a weave that goes on. */
  get holders() {
    return [...this.alive, ...this.left];
  }

  emit(kind, branch, data = {}, request = 0) {
    this.events.push({ kind, step: this.step, request, branch: branch?.id ?? null, data });
  }

  span(position, view, tokens = []) {
    return new Span(this.numbers.span++, position, view, tokens);
  }

  checkTokens(tokens, position) {
    const { max_position_embeddings: context } = this.model.config;
    if (position + tokens.length > context)
      throw new Error(`${tokens.length} tokens from position ${position} on exceed the context of ${context}`);
  }

  /** Nothing more is written to the span. Spans of a weave are sealed together, at one index, and the new ones are a
   * weave again. */
  seal(branch) {
    const { weave } = branch.span;
    if (!weave) return this.sealOne(branch);
    if (!weave.index) return;
    const members = this.members(weave);
    for (const one of members) this.sealOne(one);
    this.tellWoven(members, new Weave(members.map(({ span }) => span), weave.common, weave.positions, weave.end));
  }

  /** Tokens that are not computed yet move on to the new span. */
  sealOne(branch) {
    const { span } = branch, done = span.written, rest = span.tokens.splice(done), { again } = span;
    span.again = Math.min(again, done);
    branch.view = branch.view.plus([span.whole()]);
    branch.span = this.span(span.end, branch.view, rest);
    branch.span.again = again - span.again;
    if (branch.sampledAt !== null) branch.sampledAt -= done;
    this.emit("sealed", branch, written(branch));
  }

  /** Branches just forked: from now on each sees what the others write. In spans of their own, of one view. */
  entwine(branches, positions, slot) {
    const [{ view, position, span }] = branches, begin = position - span.tokens.length;
    branches.forEach(({ span: { tokens } }, number) => this.checkTokens(tokens, begin + number * slot));
    branches.forEach((branch, number) => {
      branch.span = this.span(begin + number * slot, view, branch.span.tokens);
      branch.bornAt = branch.span.position;
    });
    this.tellWoven(branches, new Weave(branches.map((branch) => branch.span), view.length, positions, begin));
  }

  members(weave) {
    return weave.spans.map((span) => this.holders.find((branch) => branch.span === span));
  }

  tellWoven(branches, { common, positions }) {
    const members = branches.map((branch) => ({ branch: branch.id, ...written(branch) }));
    this.emit("woven", null, { members, common, positions });
  }

  /** Before something is added to it: one that others of its weave have overtaken goes on where they are. */
  catchUp(branch) {
    const { weave, tokens } = branch.span;
    if (weave && tokens.length < weave.index) this.seal(branch);
  }
}
