// Spans that grow side by side and see each other: token i of each also sees the first i + 1 tokens of all the others, of
// those that have so many (miniapr/kv/weave.py). Here nobody shares before a join.
import { Piece, View } from "./span.js";

/**
 * spans      in the order in which they are seen
 * common     how many tokens of their views they have in common, and see first
 * positions  where the others' tokens are seen: "slots", "shared": where they were written; "contiguous": one after the
 *            other, the reader's own last, as if it were one text
 * end        the position in the text after what they have in common
 */
export class Weave {
  constructor(spans, common, positions, end) {
    Object.assign(this, { spans, common, positions, end, asText: positions === "contiguous" });
    this.first = spans[0].view.head(common).pieces;
    this.before = new Map(spans.map((span) => [span, span.view.after(common)])); // what each wrote in a weave before this
    for (const span of spans) span.weave = this;
  }

  /** The first index that was never computed. */
  get index() {
    return Math.max(...this.spans.map((span) => span.peak));
  }

  /** All that token `stop - 1` of a member sees, itself included, last. */
  sees(span, stop) {
    const ahead = this.ahead(span, stop), seen = this.first.map((piece) => piece.moved(-ahead));
    let at = this.end;
    for (const other of this.others(span)) {
      const block = this.block(other, stop), by = this.asText ? at - this.begin(other) - ahead : 0;
      for (const piece of block) if (piece.length) seen.push(piece.moved(by));
      at += length(block);
    }
    return [...seen, ...this.before.get(span), new Piece(span, 0, stop)];
  }

  /** By how much the member's own tokens are further on in the text than where they were written. */
  ahead(span, stop) {
    if (!this.asText) return 0;
    return this.end + this.others(span).reduce((sum, other) => sum + length(this.block(other, stop)), 0) - this.begin(span);
  }

  /** What the next token of a member would see, as a view, and its position. */
  frozen(span) {
    const stop = Math.max(span.tokens.length, this.index), ahead = this.ahead(span, stop);
    const seen = [...this.sees(span, stop).slice(0, -1), span.whole()];
    return [new View(seen.map((piece) => piece.moved(ahead))), span.end + ahead];
  }

  others(span) {
    return this.spans.filter((other) => other !== span);
  }

  /** The position at which a member's own text was begun. */
  begin(span) {
    return this.before.get(span)[0]?.position ?? span.position;
  }

  /** What a reader at index `stop - 1` sees of another member. */
  block(span, stop) {
    return [...this.before.get(span), new Piece(span, 0, Math.min(stop, span.tokens.length))];
  }
}

const length = (pieces) => pieces.reduce((sum, piece) => sum + piece.length, 0);
