// What the operations do to a tree: fork, join, close, and going back. No model is run here (miniapr/engine/branching.py,
// commits.py).
import { Branch, written } from "./branch.js";
import { common, Piece, Span, View } from "./span.js";
import { Spans } from "./spans.js";
import { Weave } from "./weave.js";

/** Changes the tree and who holds which views. */
export class Branching extends Spans {
  /** Say of which blocks the number of holders has changed. */
  census() {
    const now = this.kv.census(), refs = {};
    now.forEach((count, block) => {
      if (count !== this.told[block]) refs[block] = count;
    });
    if (!Object.keys(refs).length) return;
    this.emit("pool", null, { refs }, null);
    this.told = now;
  }

  split(parent, seeds, keep) {
    let view = parent.view.plus([parent.span.whole()]), { position, logits } = parent;
    if (keep !== null && keep < view.length) {
      [view, logits] = [view.head(keep), null];
      position = view.end;
    }
    for (const seed of seeds) this.checkTokens(seed, position);
    if (!logits && seeds.some((seed) => !seed.length))
      throw new Error(`branch ${parent.id} has no logits after ${view.length} tokens, so every child needs a seed`);
    this.seal(parent);
    parent.forks += 1;
    this.kv.hold(view.pieces, seeds.length);
    for (const [number, seed] of seeds.entries()) {
      const span = this.span(position, view, seed);
      const child = new Branch(this.numbers.branch++, view, span, parent, [...parent.path, parent.forks, number]);
      child.logits = seed.length ? null : logits;
      parent.children.push(child);
      this.branches.push(child);
    }
    const reused = view.length * seeds.length;
    this.cost.reused += reused;
    const children = parent.children.map((child) => ({ branch: child.id, ...written(child) }));
    this.emit("forked", parent, { position, children, reused });
    return [...parent.children];
  }

  merge(parent, branches, rule, then, keep) {
    if (keep) for (const branch of branches) this.seal(branch); // it may go on: not in blocks that the joined one reads
    const merge = rule(parent, branches), { compute = [], again = 0, read = 0, logits = null } = merge, fresh = [...compute, ...then];
    checkDistinct(merge.view);
    if (!fresh.length && !logits) throw new Error("the joined branch has no token to go on from: give some in `then`");
    this.checkTokens(fresh, merge.position);
    const [view, moved] = merge.copy ? this.materialise(merge.view) : [merge.view, {}];
    if (!merge.copy) this.kv.hold(view.pieces);
    const joined = keep ? this.beside(parent) : this.consume(parent, branches), known = common(joined.view, view);
    if (joined.parent && known < joined.first) [joined.first, joined.bornAt] = [known, view.head(known).end];
    Object.assign(joined, { view, first: Math.min(joined.first, view.length), span: this.span(merge.position, view, fresh) });
    joined.span.again = Math.min(again, fresh.length);
    joined.logits = fresh.length ? null : logits;
    joined.critical = Math.max(...branches.map((branch) => branch.critical));
    const cost = { recomputed: again, reused: view.length, bytes_moved: 0, keys_shifted: 0, ...moved };
    Object.assign(joined, { joinedAt: merge.position + compute.length, joinCost: cost });
    for (const name of ["reused", "bytes_moved", "keys_shifted"]) this.cost[name] += cost[name];
    const children = branches.map((branch) => branch.id);
    this.emit("joined", joined, { parent: parent.id, children, how: rule.name, read, seconds: 0, ...cost, ...written(joined) });
    return joined;
  }

  /** A new branch in the parent's place. */
  beside(parent) {
    const span = this.span(parent.position, parent.view), path = [...parent.path, -this.branches.length];
    const joined = new Branch(this.numbers.branch++, parent.view, span, parent.parent, path);
    joined.first = parent.first;
    this.branches.push(joined);
    parent.parent?.children.push(joined);
    return joined;
  }

  consume(parent, branches) {
    for (const child of [...parent.children]) this.close(child, branches.includes(child) ? "joined" : "released");
    this.letGo(parent);
    return parent;
  }

  /** Copy every moved piece to blocks of its own and turn its keys; the returned view is held. */
  materialise(view) {
    if (view.pieces.some(({ span, shift }) => shift && span.weave)) // it could not be computed again without the others
      this.emit("fallback", null, { wanted: "stitch_copied", did: "stitch_contiguous", why: "it was written in a weave" });
    const copies = [], pieces = view.pieces.map((piece) => {
      if (!piece.shift || piece.span.weave) return piece;
      const copy = piece.span.moved(piece.shift, piece.stop, this.numbers.span++);
      copies.push([piece.span, copy, piece.shift]);
      return new Piece(copy, piece.start, piece.stop);
    });
    for (const [source, copy, turn] of copies) {
      this.kv.grow(copy, copy.tokens.length);
      this.kv.copy(source, copy, turn);
    }
    this.kv.hold(pieces.filter(({ span }) => !copies.some(([, copy]) => copy === span)));
    for (const [source, copy, turn] of copies)
      this.emit("copied", null, { span: copy.id, source: source.id, turn, blocks: [...copy.blocks], position: copy.position, tokens: [...copy.tokens] });
    const blocks = copies.reduce((sum, [, copy]) => sum + copy.blocks.length, 0);
    const keys = copies.reduce((sum, [, copy]) => sum + copy.tokens.length, 0);
    return [new View(pieces), { bytes_moved: blocks * this.kv.bytesPerBlock, keys_shifted: keys }];
  }

  /** End a branch and all below it. */
  close(branch, state) {
    if (branch.state !== "alive") return;
    for (const child of [...branch.children].reverse()) this.close(child, state);
    for (const one of this.leave(branch)) this.letGo(one);
    Object.assign(branch, { state, logits: null, goal: null });
    const siblings = branch.parent?.children ?? [];
    if (siblings.includes(branch)) siblings.splice(siblings.indexOf(branch), 1);
    this.emit(state === "joined" ? "merged" : state, branch);
  }

  /** It is alive no more. Those of which nothing is needed any more: not itself while others of its weave live. */
  leave(branch) {
    const { weave } = branch.span, woven = this.holders.filter((other) => weave && other !== branch && other.span.weave === weave);
    if (woven.some((other) => !this.left.has(other))) {
      this.left.add(branch);
      return [];
    }
    for (const other of woven) this.left.delete(other);
    return [...woven, branch];
  }

  letGo(branch) {
    this.kv.dropOpen(branch.span);
    this.kv.drop(branch.view.pieces);
  }

  // Going back: spans are never rewritten, so a state is a few views

  /** Remember the whole tree as it is now. Costs no computing and no copying. */
  commit() {
    for (const branch of this.alive) if (branch.span.written) this.seal(branch);
    this.census();
    const found = [...new Set(this.holders.flatMap(({ span }) => span.weave ?? []))];
    const weaves = found.map((weave) => [this.members(weave), weave]);
    const states = this.holders.map((branch) => [branch, {
      ...branch, children: [...branch.children], generated: [...branch.generated],
      span: new Span(branch.span.id, branch.span.position, branch.view, branch.span.tokens, branch.span.again),
    }]);
    for (const [, { view }] of states) this.kv.keep(view);
    return { states, weaves, told: this.told };
  }

  /** Put the tree back to where it was: nothing is computed, nothing is moved. */
  checkout({ states, weaves, told }) {
    const before = this.holders.map(({ view, span }) => ({ view, span }));
    for (const branch of this.alive) Object.assign(branch, { state: "undone", logits: null });
    for (const [branch, state] of states) {
      const { id, position, view, tokens, again } = state.span; // a new one: it may be written to once more
      Object.assign(branch, state, { children: [...state.children], generated: [...state.generated], span: new Span(id, position, view, tokens, again) });
      this.kv.hold(state.view.pieces);
    }
    for (const [members, { common, positions, end }] of weaves) new Weave(members.map(({ span }) => span), common, positions, end);
    this.left = new Set(states.map(([branch]) => branch).filter(({ state }) => state !== "alive"));
    this.told = told;
    for (const branch of before) this.letGo(branch); // only now: what both hold must not be free in between
  }

  /** Let a commit's blocks go. */
  forget({ states }) {
    for (const [, { view }] of states) this.kv.keep(view, -1);
  }
}

/** Throws an Error for a view that holds a token twice: two joins of the same branches, joined again. */
function checkDistinct(view) {
  const stops = new Map();
  for (const { span, start, stop } of [...view.pieces].sort((one, other) => one.start - other.start)) {
    if (start < (stops.get(span) ?? 0)) throw new Error(`the branches share tokens that they wrote: span ${span.id} would be seen twice`);
    stops.set(span, stop);
  }
}
