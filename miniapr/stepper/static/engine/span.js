// Spans, pieces and views: a model's thoughts as an append-only history (miniapr/kv/span.py).

/**
 * An append-only run of tokens that one branch wrote, at consecutive positions.
 *
 * blocks   where keys and values of its first tokens lie; of `written` tokens they are there
 * peak     of how many they ever were
 * weave    the weave of which it is one, or null: then its tokens see those of others too
 * again    how many of its first tokens had been computed before, here or as the same text elsewhere: a cost
 */
export class Span {
  constructor(id, position, view, tokens = [], again = 0) {
    Object.assign(this, { id, position, view, tokens: [...tokens], again, written: 0, peak: 0, blocks: [], weave: null });
  }

  get end() {
    return this.position + this.tokens.length;
  }

  whole() {
    return new Piece(this, 0, this.tokens.length);
  }

  /** One that says its first tokens over again, with everything that they see, so many positions further on. */
  moved(by, stop, id) {
    return new Span(id, this.position + by, new View(this.view.pieces.map((piece) => piece.moved(by))), this.tokens.slice(0, stop), stop);
  }
}

/** Tokens start:stop of a span, whose positions count as moved by `shift` for this viewer. */
export class Piece {
  constructor(span, start, stop, shift = 0) {
    Object.assign(this, { span, start, stop, shift });
  }

  get length() {
    return this.stop - this.start;
  }

  get position() {
    return this.span.position + this.start + this.shift;
  }

  get tokens() {
    return this.span.tokens.slice(this.start, this.stop);
  }

  moved(by) {
    return new Piece(this.span, this.start, this.stop, this.shift + by);
  }
}

/** What a branch attends to before its own open span: an ordered sequence of pieces that never changes. */
export class View {
  constructor(pieces = []) {
    this.pieces = [];
    for (const piece of pieces) {
      const last = this.pieces.at(-1);
      if (!piece.length) continue;
      if (last && last.span === piece.span && last.stop === piece.start && last.shift === piece.shift)
        this.pieces[this.pieces.length - 1] = new Piece(last.span, last.start, piece.stop, last.shift);
      else this.pieces.push(piece);
    }
    this.length = this.pieces.reduce((sum, piece) => sum + piece.length, 0);
  }

  plus(pieces) {
    return new View([...this.pieces, ...pieces]);
  }

  get tokens() {
    return this.pieces.flatMap((piece) => piece.tokens);
  }

  /** The position after all that is in it. */
  get end() {
    return Math.max(0, ...this.pieces.map((piece) => piece.position + piece.length));
  }

  /** The pieces beyond the first `count` tokens. */
  after(count) {
    const found = [];
    for (const { span, start, stop, shift } of this.pieces) {
      if (stop - start > count) found.push(new Piece(span, start + Math.max(count, 0), stop, shift));
      count -= stop - start;
    }
    return found;
  }

  /** The first `count` tokens. */
  head(count) {
    const found = [];
    for (const { span, start, stop, shift } of this.pieces) {
      if (count > 0) found.push(new Piece(span, start, Math.min(stop, start + count), shift));
      count -= stop - start;
    }
    return new View(found);
  }

  same(other) {
    return common(this, other) === this.length && this.length === other.length;
  }
}

/** How many tokens two views have in common from the beginning on. */
export function common(one, other) {
  let length = 0;
  for (let i = 0; i < Math.min(one.pieces.length, other.pieces.length); i++) {
    const mine = one.pieces[i], its = other.pieces[i];
    if (mine.span !== its.span || mine.start !== its.start || mine.shift !== its.shift) break;
    length += Math.min(mine.length, its.length);
    if (mine.stop !== its.stop) break;
  }
  return length;
}
