// What a learner can say to a tree: commands that change it, in words (miniapr/stepper/commands.py, tree.py).
import { encode, listed, number, only, planned, questions, thoughts, voices, wordThatEnds } from "./beginnings.js";
import { message } from "./joins.js";

const HOW = {
  stitch: "stitch", contiguous: "stitch_contiguous", copied: "stitch_copied", reprefill: "reprefill", select: "select",
  message: "message",
};
const LONGEST = 100; // tokens of a decode without a number
const WOVEN = ["slots", "shared", "contiguous"]; // positions in a weave, the first unless another is said
const SLOT = 64; // positions that each has of its own

/** One tree: what commands work on. `focus`: the branch that they mean, with all below it. */
export class Tree {
  constructor(engine, control, tokens) {
    Object.assign(this, { engine, control });
    this.root = engine.start(tokens);
    engine.settle([this.root]);
    this.focus = this.root.id;
  }

  get leaves() {
    return this.engine.alive.filter((branch) => !branch.children.length && this.below(branch, this.focus));
  }

  /** Those of them that still write. */
  get going() {
    return this.leaves.filter((leaf) => !this.ended(leaf));
  }

  /** The word by which a model says that it has found what was asked for; null: it has none. */
  get hit() {
    return this.word("hit");
  }

  /** What a parent hears of a child: what it wrote from its last hit on, or that it missed. */
  message(branch) {
    const said = this.ended(branch) ? branch.generated.slice(0, -1) : branch.generated, { hit } = this, miss = this.word("miss");
    if (hit === null || miss === null) return said;
    const at = said.lastIndexOf(hit);
    return at < 0 ? [miss] : said.slice(at);
  }

  /** What lies below the focus, and neither above nor below this branch: the topmost of each. */
  beside(branch) {
    const found = [];
    for (let one = branch; one.id !== this.focus && one.parent; one = one.parent)
      found.unshift(...one.parent.children.filter((child) => child !== one));
    return found;
  }

  word(word) {
    const { known } = this.engine.tokenizer;
    return known.get(word) ?? null;
  }

  below(branch, id) {
    return branch.id === id || (branch.parent !== null && this.below(branch.parent, id));
  }

  /** Whether the model has written its last word there. */
  ended(branch) {
    return this.control.ends.includes(branch.history.at(-1));
  }

  branch(id) {
    const alive = this.engine.alive, found = alive.find((branch) => branch.id === id);
    if (!found) throw new Error(`there is no branch ${id}; there are ${listed(alive.map((branch) => branch.id))}`);
    return found;
  }

  get critical() {
    return Math.max(...this.engine.alive.map((branch) => branch.critical));
  }

  /** Blocks that the branches hold. */
  get blocks() {
    const pieces = this.engine.alive.flatMap((branch) => [...branch.view.pieces, branch.span.whole()]);
    return new Set(pieces.flatMap((piece) => this.engine.kv.blocks(piece))).size;
  }
}

function fork(tree, rest) {
  const parent = only(tree, "fork"), children = tree.engine.fork(parent, thoughts(tree, parent, rest));
  return `Branches ${names(children)} go on from position ${parent.position}: nothing was computed or copied for it.`;
}

function weave(tree, rest) {
  const parent = only(tree, "fork into a weave"), [first, ...others] = rest.split(" "), said = WOVEN.includes(first);
  const positions = said ? first : WOVEN[0], children = tree.engine.fork(parent, voices(tree, parent, said ? others.join(" ") : rest));
  tree.engine.weave(children, positions, positions === "slots" ? SLOT : 0);
  return `Branches ${names(children)} go on from position ${parent.position}, and see each other's words as they are written.`;
}

function spawn(tree, rest) {
  const parent = only(tree, "spawn"), children = tree.engine.fork(parent, questions(tree, parent, rest), 0);
  return `Branches ${names(children)} begin at position 0: each sees its own words, and none of those before.`;
}

function decode(tree, rest) {
  const count = rest ? number(rest, "decode 5") : LONGEST, { control, engine, leaves, going } = tree;
  if (!going.length && leaves.every((leaf) => leaf.history.at(-1) === control.plan_end)) throw new Error("the plan is written: `fork 3` begins with its items");
  if (!going.length) throw new Error("all these branches have ended: join them, or go on with `fork` or `write`");
  const before = { ...engine.cost };
  engine.decode(going, control.ends, count);
  engine.settle(going); // the last tokens too, so that a command makes one span
  const tokens = engine.cost.decoded - before.decoded, passes = engine.cost.steps - before.steps;
  return `${many(tokens, "token")} in ${many(going.length, "branch", "es")}, ${many(passes, "forward pass", "es")}.`;
}

function cancel(tree, rest) {
  const word = wordThatEnds(tree, rest), { control, engine } = tree, before = engine.cost.decoded;
  let { going } = tree, won = null;
  if (!going.length) throw new Error("all these branches have ended: `cancel` is for those that still write");
  for (let i = 0; i < LONGEST && !won && going.length; i++) {
    engine.decode(going, control.ends, 1);
    won = going.find((one) => one.history.at(-1) === word) ?? null;
    going = going.filter((one) => !tree.ended(one));
  }
  engine.settle(won ? [won] : tree.leaves);
  const said = engine.tokenizer.decode([word]), tokens = many(engine.cost.decoded - before, "token");
  if (!won) return `${tokens}, and no branch said \`${said}\`.`;
  const beside = tree.beside(won);
  for (const one of beside) engine.release(one);
  const gone = beside.length ? `${names(beside)} let go in the same step` : "nobody was beside it";
  return `Branch ${won.id} said \`${said}\` after ${tokens} of all: ${gone}.`;
}

function branch(tree, rest) {
  tree.focus = tree.branch(number(rest, "branch 2")).id;
  const below = tree.leaves.map((leaf) => leaf.id).filter((id) => id !== tree.focus);
  return `Now at branch ${tree.focus}${below.length ? `, with ${listed(below)} below it.` : "."}`;
}

function join(tree, rest) {
  const at = rest.indexOf(" then "), words = at < 0 ? rest : rest.slice(0, at), text = at < 0 ? null : rest.slice(at + 6);
  const [name = "", ...which] = words.split(" ").filter(Boolean), how = HOW[name] ?? name, { engine, control } = tree;
  if (!Object.values(HOW).includes(how)) throw new Error(`join how? ${listed(Object.keys(HOW), "or")}${name ? `, not '${name}'` : ""}`);
  const [parent, branches] = toJoin(tree, which.map((one) => number(one, "join select 2")));
  if (how === "select" && branches.length > 1) throw new Error(`select goes on from one branch: \`join select ${branches[0].id}\``);
  const tokens = text === null ? (how === "select" ? [] : [control.join]) : encode(tree, text);
  const rule = how === "message" ? message(branches.flatMap((one) => tree.message(one))) : how;
  if (!tokens.length && how !== "select" && how !== "message") throw new Error(`the joined branch needs words to go on from: \`join ${words} then ...\``);
  const gone = parent.children.map((child) => child.id), joined = engine.join(parent, branches, rule, tokens);
  engine.settle([joined]);
  if (gone.includes(tree.focus)) tree.focus = joined.id;
  const { recomputed, bytes_moved: bytes } = joined.joinCost;
  return `Joined ${listed(branches.map((one) => one.id))} into branch ${joined.id}, which goes on from position ` +
    `${joined.joinedAt}: ${many(recomputed, "token")} computed again, ${bytes.toLocaleString("en")} bytes moved.`;
}

/** Those that are named, with their parent; else all branches of the one fork under the focus, or around it. */
function toJoin(tree, ids) {
  if (ids.length) {
    const branches = ids.map((id) => tree.branch(id)), [{ id, parent }] = branches;
    if (!parent) throw new Error(`branch ${id} is the root: there is nothing to join it to`);
    return [parent, branches];
  }
  const parents = [...new Set(tree.leaves.filter((leaf) => leaf.parent).map((leaf) => leaf.parent))];
  const forks = parents.filter((parent) => !parent.children.some((child) => child.children.length));
  if (!forks.length) throw new Error("there is nothing to join: `fork 3` first");
  if (forks.length > 1) throw new Error(`more than one branch has forked: say \`branch ${forks[0].id}\` first, of ${listed(forks.map((one) => one.id), "or")}`);
  return [forks[0], [...forks[0].children]];
}

function write(tree, rest) {
  if (!rest) throw new Error("write what? For example `write b*c 21`");
  const leaf = only(tree, "be written to"), tokens = encode(tree, rest);
  tree.engine.settle([tree.engine.extend(leaf, tokens)]);
  return `${many(tokens.length, "token")} written to branch ${leaf.id}, and computed in one forward pass.`;
}

function drop(tree, rest) {
  const gone = tree.branch(number(rest, "drop 2")), before = tree.blocks;
  if (!gone.parent) throw new Error(`branch ${gone.id} is the root: without it nothing would be left`);
  if (tree.below(tree.branch(tree.focus), gone.id)) tree.focus = gone.parent.id;
  tree.engine.release(gone);
  return `Branch ${gone.id} is let go, and with it ${many(before - tree.blocks, "block")} that no other branch reads.`;
}

/** Changes that can be made now. */
export function offers(tree) {
  const { leaves } = tree, found = [];
  if (leaves.length === 1 && !leaves[0].span.weave) {
    found.push("fork 2", "fork 3", "weave 2");
    if (planned(tree, leaves[0], 2).length) found.push("spawn 2");
  }
  if (tree.going.length) found.push("decode 1", "decode 5", "decode", ...(leaves.length > 1 && tree.hit !== null ? ["cancel"] : []));
  const branches = joinable(tree), alone = branches.some((one) => !one.first); // in contexts of their own
  if (branches.length) found.push(...(alone ? ["reprefill", "message"] : Object.keys(HOW)).filter((how) => how !== "select").map((how) => `join ${how}`));
  if (leaves.length === 1 && leaves[0].parent) found.push(`join select ${leaves[0].id}`, `drop ${leaves[0].id}`);
  return [...found, ...tree.engine.alive.filter(({ id }) => id !== tree.focus).map(({ id }) => `branch ${id}`)];
}

function joinable(tree) {
  try {
    return toJoin(tree, [])[1];
  } catch {
    return [];
  }
}

const names = (branches) => listed(branches.map(({ id }) => id));

/** 1 token, 2 tokens */
const many = (count, what, ending = "s") => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : ending}`;

export const CHANGES = {
  fork: ["fork 3", "split the branch in three; or say how each begins: `fork b*c | a-b`", fork],
  weave: ["weave 2", `the same, and they see each other write; also \`weave ${WOVEN[2]} 2\`, \`weave a | b\``, weave],
  spawn: ["spawn 2", "children with contexts of their own, for the items of a plan; or `spawn a | b`", spawn],
  decode: ["decode 5", "five tokens in every branch, in one batch; no number: until each ends", decode],
  cancel: ["cancel", "decode until one branch says hit (or `cancel miss`), and let those beside it go", cancel],
  branch: ["branch 2", "work on branch 2 and what is below it; `branch 0` is the whole tree", branch],
  join: ["join stitch", `make branches one again: ${listed(Object.keys(HOW), "or")}; \`join select 2\``, join],
  write: ["write b*c 21", "append words of your own to the branch", write],
  drop: ["drop 2", "let branch 2 go", drop],
};
