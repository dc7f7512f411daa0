// The block pool, and who holds which of its blocks (miniapr/kv/pool.py, cache.py).
import { rotate } from "./decoder.js";

/**
 * All keys and values, in blocks of equal size, counted by reference. Every holder of a piece counts once on each block
 * that the piece touches; when the last one lets go the block is free and the span forgets it.
 *
 * keys, values  of each layer [blocks * size, H * D]
 * refs, kept    of each block how many hold it, and how many of those are commits
 */
export class KVCache {
  constructor(model, blocks, size) {
    const { num_hidden_layers: layers, num_key_value_heads: heads, head_dim } = model.config;
    Object.assign(this, { model, size, count: blocks, across: heads * head_dim });
    const empty = () => Array.from({ length: layers }, () => new Float32Array(blocks * size * this.across).fill(NaN));
    [this.keys, this.values] = [empty(), empty()]; // NaN: whoever reads what nobody wrote is found out at once
    [this.refs, this.kept] = [new Int32Array(blocks), new Int32Array(blocks)];
    this.free = Array.from({ length: blocks }, (_, i) => blocks - 1 - i);
    this.bytesPerBlock = 2 * layers * size * this.across * 4;
  }

  blocks({ span, start, stop }) {
    return span.blocks.slice(Math.floor(start / this.size), Math.ceil(stop / this.size));
  }

  /** `times` more holders of every piece. */
  hold(pieces, times = 1) {
    for (const piece of pieces) {
      if (piece.stop > piece.span.written) throw new Error(`span ${piece.span.id} is held beyond what is there`);
      for (const block of this.blocks(piece)) this.refs[block] += times;
    }
  }

  drop(pieces) {
    this.release(new Set(pieces.map((piece) => piece.span)), pieces.flatMap((piece) => this.blocks(piece)));
  }

  /** Let go of a whole open span. */
  dropOpen(span) {
    this.release([span], [...span.blocks]);
  }

  /** For a commit (by -1: no longer): counted apart, so that it can be told from what branches read. */
  keep(view, by = 1) {
    for (const piece of view.pieces) for (const block of this.blocks(piece)) this.kept[block] += by;
    if (by > 0) this.hold(view.pieces);
    else this.drop(view.pieces);
  }

  release(spans, blocks) {
    for (const block of blocks) this.refs[block] -= 1;
    this.free.push(...[...new Set(blocks)].filter((block) => !this.refs[block]).reverse());
    for (const span of spans) {
      while (span.blocks.length && !this.refs[span.blocks.at(-1)]) span.blocks.pop();
      span.written = Math.min(span.written, span.blocks.length * this.size);
    }
  }

  /** Blocks for the first `tokens` tokens of a span. Throws an Error if there are not so many. */
  grow(span, tokens) {
    const more = Math.ceil(tokens / this.size) - span.blocks.length;
    if (more > this.free.length) throw new Error(`${more} blocks wanted, ${this.free.length} of ${this.count} available: undo something`);
    for (let i = 0; i < more; i++) {
      const block = this.free.pop();
      this.refs[block] = 1;
      span.blocks.push(block);
    }
  }

  /** Where tokens of a piece lie. */
  slots({ span, start, stop }) {
    const found = new Int32Array(stop - start);
    for (let i = start; i < stop; i++) found[i - start] = span.blocks[Math.floor(i / this.size)] * this.size + (i % this.size);
    return found;
  }

  /** Copy the beginning of a span, as much as `target` has tokens, and turn its keys by so many positions. */
  copy(source, target, by) {
    const turn = this.model.turn(by), { across } = this, stop = target.tokens.length;
    const [from, to] = [source, target].map((span) => this.slots({ span, start: 0, stop }));
    for (const table of [...this.keys, ...this.values])
      from.forEach((slot, i) => table.copyWithin(to[i] * across, slot * across, (slot + 1) * across));
    for (const keys of this.keys)
      for (const slot of to) rotate(keys, slot * across, across, turn, this.model.config.head_dim);
    target.written = target.peak = stop;
  }

  /** How many hold each block, commits apart. */
  census() {
    return this.refs.map((count, block) => count - this.kept[block]);
  }
}
