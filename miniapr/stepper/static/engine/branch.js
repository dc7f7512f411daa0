// Where a thought continues (miniapr/engine/branch.py).
import { View } from "./span.js";

/**
 * view      the pieces that it attends to before its open span
 * span      open; its last token's key and value are not in the pool until a step has computed it
 * logits    after the span's last token; null while there are tokens to compute
 * path      its number among its siblings, from the root down
 * first     how many tokens of its history it was given: its own text begins there
 * bornAt    the position at which that text begins
 * critical  tokens decoded one after the other to get here
 * goal      what decoding waits for: {tokens, limit, begun}, or null
 */
export class Branch {
  constructor(id, view, span, parent = null, path = [0]) {
    Object.assign(this, { id, view, span, parent, path, state: "alive", children: [], forks: 0, logits: null, goal: null });
    Object.assign(this, { generated: [], sampledAt: null, joinedAt: -1, joinCost: null, critical: parent?.critical ?? 0 });
    Object.assign(this, { depth: parent ? parent.depth + 1 : 0, bornAt: span.position, first: view.length });
  }

  /** The position of the next token. */
  get position() {
    return this.span.end;
  }

  /** All tokens that it stands on, in the order of its view. */
  get history() {
    return [...this.view.tokens, ...this.span.tokens];
  }

  /** Its own tokens: those after its fork; of a root those after its prompt. */
  get tokens() {
    return this.history.slice(this.first);
  }

  /** The pieces that it wrote since its parent's fork: what a join adds to the parent's view. */
  get own() {
    return this.view.plus([this.span.whole()]).after(this.parent ? this.first : 0);
  }

  /** All that its next token would see, what is written beside it included, and that token's position. */
  get seen() {
    const { view, span, position } = this;
    return span.weave ? span.weave.frozen(span) : [view.plus([span.whole()]), position];
  }

  /** All that it stands on is computed. */
  get ready() {
    return this.span.written === this.span.tokens.length;
  }

  /** Throws an Error if it cannot be used any more. */
  require(doing) {
    if (this.state !== "alive") throw new Error(`branch ${this.id} was ${this.state}: it cannot ${doing}`);
    if (this.children.length)
      throw new Error(`branch ${this.id} has forked: join or release its branches ${this.children.map((child) => child.id).join(", ")} before it can ${doing}`);
  }
}

/** What an event says of a branch that begins a span. */
export function written({ span, view }) {
  const pieces = view.pieces.map((piece) => [piece.span.id, piece.start, piece.stop, piece.shift]);
  return { span: span.id, position: span.position, tokens: [...span.tokens], view: pieces };
}

/** By their places in the tree, whatever order they finished or were named in. */
export function byPath(one, other) {
  for (let i = 0; i < Math.min(one.path.length, other.path.length); i++)
    if (one.path[i] !== other.path[i]) return one.path[i] - other.path[i];
  return one.path.length - other.path.length;
}

export const NOTHING = new View();
