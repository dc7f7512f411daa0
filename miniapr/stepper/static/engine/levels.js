// What the levels ask for, and whether it is there (miniapr/stepper/levels.py, which has the levels themselves).
import { answerOf, verify } from "./countdown.js";
import { Piece } from "./span.js";

const MEASURES = {
  decoded: [({ cost }) => cost.decoded, "tokens decoded"],
  prefilled: [({ cost }) => cost.prefilled, "tokens prefilled"],
  recomputed: [({ cost }) => cost.recomputed, "tokens computed again"],
  bytes: [({ cost }) => cost.bytes_moved, "bytes moved"],
  passes: [({ cost }) => cost.steps, "forward passes"],
  critical: [({ critical }) => critical, "tokens one after the other"],
  blocks: [({ blocks }) => blocks, "blocks held by branches"],
  context: [({ engine }) => Math.max(...engine.alive.map(({ view, span }) => view.length + span.tokens.length)), "tokens that a branch stands on"],
};

/** Further conditions, by what they say. */
const ALSO = {
  "every key lies turned as it is seen": ({ engine }) => !engine.alive.some(({ view }) => view.pieces.some(({ shift }) => shift)),
  "the branch that is left says hit": (session) => session.leaves.length === 1 && session.engine.tokenizer.decode(session.leaves[0].tokens).split(" ").includes("hit"),
  "the answer is correct": ({ root, engine }, { problem }) => verify(answerOf(engine.tokenizer.decode(root.tokens), problem), problem),
};

/** [{text, met}]; `goal`: a session that has reached it. */
export function check(level, session, goal) {
  const found = level.alike ? [{ text: "your tree attends as the goal does", met: figure(session) === figure(goal) }] : [];
  for (const [limits, word, sign] of [[level.most, "at most", 1], [level.least, "at least", -1]])
    for (const [name, limit] of Object.entries(limits)) {
      const [measure, what] = MEASURES[name], now = measure(session), text = limit ? `${word} ${limit.toLocaleString("en")}` : "no";
      found.push({ text: `${text} ${what} (now ${now.toLocaleString("en")})`, met: sign * now <= sign * limit });
    }
  if (level.also) found.push({ text: level.also, met: ALSO[level.also](session, level) });
  return found;
}

/** What a tree looks like: of every live branch the next position, and of every token before that the position at which
 * it is seen, and how far back lay what it attended to. */
function figure(session) {
  const alive = session.engine.alive;
  return JSON.stringify(alive.map((branch) => [
    branch.parent ? alive.indexOf(branch.parent) : -1, branch.position, seen(branch.view.plus([branch.span.whole()])),
  ]));
}

function seen(view) {
  return view.pieces.flatMap(({ span, start, stop, shift }) => {
    return Array.from({ length: stop - start }, (_, i) => {
      const at = span.position + start + i, read = span.weave?.sees(span, start + i + 1) ?? [...span.view.pieces, new Piece(span, 0, start + i + 1)];
      return [at + shift, positions(read).map((other) => at - other)];
    });
  });
}

/** Of all tokens of these pieces, as their reader counts. */
const positions = (pieces) => pieces.flatMap((piece) => Array.from({ length: piece.length }, (_, i) => piece.position + i));
