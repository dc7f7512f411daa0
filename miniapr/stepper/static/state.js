// What an engine holds at one moment of a run: its spans, its branches, its blocks. No drawing here.

export const ALONE = { spans: [], common: 0 }; // the weave of a span that is in none
const COUNTERS = ["decoded", "prefilled", "recomputed", "reused", "bytes_moved", "keys_shifted", "critical", "passes"];

export class State {
  constructor() {
    this.spans = new Map(); // id -> {id, branch, position, tokens, written, blocks, turn, source, view, read, weave}
    this.branches = new Map(); // id -> {id, parent, span, view, alive, end, first, critical, sources}
    this.refs = new Map(); // block -> how many hold it
    this.owner = new Map(); // block -> span
    this.counters = Object.fromEntries(COUNTERS.map((name) => [name, 0]));
  }

  clone() {
    const copy = new State();
    for (const [id, span] of this.spans) copy.spans.set(id, { ...span, tokens: [...span.tokens], blocks: [...span.blocks] });
    for (const [id, branch] of this.branches) copy.branches.set(id, { ...branch });
    copy.refs = new Map(this.refs);
    copy.owner = new Map(this.owner);
    copy.counters = { ...this.counters };
    return copy;
  }

  /** All tokens that a branch stands on, in the order of its view: [{span, index, position}] */
  history(id) {
    const branch = this.branches.get(id), found = [];
    for (const [span, start, stop, shift] of this.pieces(branch.view, branch.span))
      for (let i = start; i < stop; i++) found.push({ span, index: i, position: this.spans.get(span).position + i + shift });
    return found;
  }

  /** A view, and a span after it as one more piece. */
  pieces(view, span) {
    const length = this.spans.get(span).tokens.length;
    return length ? [...view, [span, 0, length, 0]] : view;
  }

  /** All that a branch's next token attends to: in a weave also what the others have written, as it counts. */
  standing(id) {
    const { view, span } = this.branches.get(id), { weave } = this.spans.get(span), own = this.pieces(view, span);
    if (!weave.spans.length || weave.positions === "private") return own;
    const others = weave.spans.filter((other) => other !== span).flatMap((other) => this.pieces(after(this.spans.get(other).view, weave.common), other));
    const [common, mine] = [head(own, weave.common), after(own, weave.common)];
    if (weave.positions !== "contiguous") return [...common, ...others, ...mine];
    // As one text: what all see first, the others' work, one's own.
    const count = length(others), [begun, from, , shift] = mine[0] ?? [span, 0, 0, 0];
    let at = this.spans.get(begun).position + from + shift - count;
    const moved = others.map(([other, start, stop]) => {
      const by = at - this.spans.get(other).position - start;
      at += stop - start;
      return [other, start, stop, by];
    });
    return [...common.map(([other, start, stop, by]) => [other, start, stop, by - count]), ...moved, ...mine];
  }

  /** What the tokens of a span attend to beside their own: its view, and in a weave what the others wrote before. */
  seen(id) {
    const { view, weave } = this.spans.get(id), others = weave.spans.filter((other) => other !== id);
    return [...view, ...others.flatMap((other) => after(this.spans.get(other).view, weave.common))];
  }

  /** The position of a branch's next token. */
  next(id) {
    const span = this.spans.get(this.branches.get(id).span);
    return span.position + span.tokens.length;
  }
}

/** The pieces of a view beyond its first tokens. */
function after(view, count) {
  const found = [];
  for (const [span, from, to, shift] of view) {
    if (to - from > count) found.push([span, from + Math.max(count, 0), to, shift]);
    count -= to - from;
  }
  return found;
}

/** Their first tokens. */
function head(view, count) {
  const found = [];
  for (const [span, from, to, shift] of view) {
    if (count > 0) found.push([span, from, Math.min(to, from + count), shift]);
    count -= to - from;
  }
  return found;
}

const length = (pieces) => pieces.reduce((sum, [, from, to]) => sum + to - from, 0);
