// The joins: how branches become one again. Each is a function from views to a view (miniapr/engine/joins.py).
//
//   join               the joined branch sees           next position        computed again
//   stitch             prefix A B                       after the longest    nothing (Multiverse)
//   stitch_contiguous  prefix A B, B seen as moved      as in the text       nothing (Hogwild!)
//   stitch_copied      prefix A B', B' a moved copy     as in the text       nothing; B copied, keys turned
//   reprefill          prefix A b                       as in the text       B, now seeing A (ThreadWeaver)
//   select             prefix A                         that branch's        nothing (a vote, a search)
//   message            a prefix cut short, then text    after the message    the message (APR)
import { Piece } from "./span.js";

/** Positions overlap; the next one is after the longest branch, so that nothing seen lies ahead. */
function stitch(parent, branches) {
  const view = parent.view.plus(branches.flatMap(own));
  return { view, position: Math.max(parent.position, ...branches.map((branch) => branch.position)) };
}

/** Positions as in the joined text, by turning the query for each piece: nothing is moved. */
function stitch_contiguous(parent, branches) {
  let { view, position } = parent;
  for (const branch of branches) {
    view = view.plus(own(branch).map((piece) => piece.moved(position - branch.bornAt)));
    position += branch.position - branch.bornAt;
  }
  return { view, position };
}

/** The same positions, with the blocks of moved pieces copied and their keys turned. */
function stitch_copied(parent, branches) {
  return { ...stitch_contiguous(parent, branches), copy: true };
}

/** Ordinary causal text again. What the first branch wrote right after the prefix is that already, and is kept. */
function reprefill(parent, branches) {
  let { view } = parent, kept = 0;
  for (const { span, start, stop, shift } of branches[0].own) {
    const ready = new Piece(span, start, Math.min(stop, span.written), shift);
    if (span.weave) break; // read again, it sees none of what was written beside it
    if (shift || !span.view.same(view) || ready.position !== parent.position + kept || ready.length <= 0) break;
    view = view.plus([ready]);
    kept += ready.length;
    if (ready.stop < stop) break;
  }
  const text = branches.flatMap((branch) => branch.own.flatMap((piece) => piece.tokens));
  const known = branches.flatMap((branch) => branch.own).reduce((sum, { span, start, stop }) => sum + Math.min(stop, span.written) - start, 0);
  return { view, position: parent.position + kept, compute: text.slice(kept), again: known - kept, read: text.length - kept };
}

/** Go on from one branch and all that it sees; the others are let go. */
function select(parent, branches) {
  if (branches.length !== 1) throw new Error(`select goes on from one branch, ${branches.length} were given`);
  const [{ seen: [view, position], logits }] = branches;
  return { view, position, logits };
}

/** The branches are dropped and a message put in their place, after the first `keep` tokens of the parent's history. */
export function message(tokens, keep = null) {
  return function message(parent) {
    const length = keep ?? parent.view.length, least = parent.parent ? parent.first : 0;
    if (length < least || length > parent.view.length)
      throw new Error(`cannot keep ${length} tokens: at least ${least}, at most ${parent.view.length}`);
    const view = parent.view.head(length);
    return { view, position: view.end, compute: tokens };
  };
}

/** What a stitch adds of a branch: nothing, of one with a context of its own. */
function own(branch) {
  if (!branch.first)
    throw new Error(`branch ${branch.id} was given none of its parent's tokens: its keys are of another context and cannot be ` +
      "stitched; message, reprefill and select can join it");
  return branch.own;
}

export const JOINS = { stitch, stitch_contiguous, stitch_copied, reprefill, select };

/** Joins that read their branches' keys and values, not just their text: every one must be there first. */
export const READ_KV = new Set([stitch, stitch_contiguous, stitch_copied, select]);
