// What a learner can say to a tree: commands that change it, in words (miniapr/stepper/commands.py, tree.py).
import { readPlan } from "./grammar.js";

export const LIMITS = { tokens: 10000, width: 16, depth: 4 };
const HOW = { stitch: "stitch", contiguous: "stitch_contiguous", copied: "stitch_copied", reprefill: "reprefill", select: "select" };
const LONGEST = 100; // tokens of a decode without a number

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
  const parent = only(tree, "fork");
  if (!rest) throw new Error("fork into how many? For example `fork 3`");
  const parts = rest.split("|");
  const seeds = /^[+-]*\d+$/.test(rest) ? ideas(tree, parent, number(rest, "fork 3")) : parts.map((words) => [tree.control.thread, ...encode(tree, words)]);
  if (!parts.every((words) => words.trim())) throw new Error("a branch has no beginning: put words on both sides of each |");
  const children = tree.engine.fork(parent, seeds);
  return `Branches ${listed(children.map((child) => child.id))} go on from position ${parent.position}: nothing was computed or copied for it.`;
}

/** How branches begin: with the items of the plan that the branch ends with, else with the likeliest next tokens. */
function ideas(tree, parent, count) {
  if (!(count >= 1 && count <= LIMITS.width)) throw new Error(`a fork makes 1 to ${LIMITS.width} branches, not ${count}`);
  const { control, engine } = tree, items = readPlan(parent.history, control, count);
  if (items.length) return Array.from({ length: count }, (_, i) => [control.thread, ...(items[i] ?? [])]);
  engine.settle([parent]);
  const order = [...parent.logits.keys()].sort((a, b) => parent.logits[b] - parent.logits[a] || a - b);
  return order.filter((token) => !control.special.has(token)).slice(0, count).map((token) => [token]);
}

function decode(tree, rest) {
  const count = rest ? number(rest, "decode 5") : LONGEST, { control, engine, leaves } = tree;
  const going = leaves.filter((leaf) => !tree.ended(leaf));
  if (!going.length && leaves.every((leaf) => leaf.history.at(-1) === control.plan_end)) throw new Error("the plan is written: `fork 3` begins with its items");
  if (!going.length) throw new Error("all these branches have ended: join them, or go on with `fork` or `write`");
  const before = { ...engine.cost };
  engine.decode(going, control.ends, count);
  engine.settle(going); // the last tokens too, so that a command makes one span
  const tokens = engine.cost.decoded - before.decoded, passes = engine.cost.steps - before.steps;
  return `${many(tokens, "token")} in ${many(going.length, "branch", "es")}, ${many(passes, "forward pass", "es")}.`;
}

function branch(tree, rest) {
  tree.focus = tree.branch(number(rest, "branch 2")).id;
  const below = tree.leaves.map((leaf) => leaf.id).filter((id) => id !== tree.focus);
  return `Now at branch ${tree.focus}${below.length ? `, with ${listed(below)} below it.` : "."}`;
}

function join(tree, rest) {
  const at = rest.indexOf(" then "), words = at < 0 ? rest : rest.slice(0, at), text = at < 0 ? null : rest.slice(at + 6);
  const [name = "", ...names] = words.split(" ").filter(Boolean), how = HOW[name] ?? name, { engine, control } = tree;
  if (!Object.values(HOW).includes(how)) throw new Error(`join how? ${listed(Object.keys(HOW), "or")}${name ? `, not '${name}'` : ""}`);
  const [parent, branches] = toJoin(tree, names.map((one) => number(one, "join select 2")));
  if (how === "select" && branches.length > 1) throw new Error(`select goes on from one branch: \`join select ${branches[0].id}\``);
  const tokens = text === null ? (how === "select" ? [] : [control.join]) : encode(tree, text);
  if (!tokens.length && how !== "select") throw new Error(`the joined branch needs words to go on from: \`join ${words} then ...\``);
  const gone = parent.children.map((child) => child.id), joined = engine.join(parent, branches, how, tokens);
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
  if (!rest) throw new Error("write what? For example `write 7 * 3`");
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

function only(tree, what) {
  const { leaves } = tree;
  if (leaves.length === 1) return leaves[0];
  throw new Error(`which branch is to ${what}? There are ${listed(leaves.map((leaf) => leaf.id))}: say \`branch ${leaves[0].id}\` first`);
}

/** Changes that can be made now. */
export function offers(tree) {
  const { leaves } = tree, found = [];
  if (leaves.length === 1) found.push("fork 2", "fork 3");
  if (!leaves.every((leaf) => tree.ended(leaf))) found.push("decode 1", "decode 5", "decode");
  if (canJoin(tree)) found.push(...Object.keys(HOW).filter((how) => how !== "select").map((how) => `join ${how}`));
  if (leaves.length === 1 && leaves[0].parent) found.push(`join select ${leaves[0].id}`, `drop ${leaves[0].id}`);
  return [...found, ...tree.engine.alive.filter(({ id }) => id !== tree.focus).map(({ id }) => `branch ${id}`)];
}

function canJoin(tree) {
  try {
    return toJoin(tree, []).length > 0;
  } catch {
    return false;
  }
}

const encode = (tree, text) => tree.engine.tokenizer.encode(text);

/** A small whole number. Throws an Error for anything else, with an example of the command's use. */
export function number(text, example) {
  if (!/^\d{1,5}$/.test(text)) throw new Error(`\`${example.split(" ")[0]}\` takes a whole number, as in \`${example}\`, not '${text}'`);
  return Number(text);
}

/** 1, 2 and 3 */
export function listed(names, word = "and") {
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} ${word} ${names.at(-1)}` : `${names[0] ?? ""}`;
}

/** 1 token, 2 tokens */
const many = (count, what, ending = "s") => `${count.toLocaleString("en")} ${what}${count === 1 ? "" : ending}`;

export const CHANGES = {
  fork: ["fork 3", "split the branch in three; or say how each begins: `fork 7 * 3 | 8 - 7`", fork],
  decode: ["decode 5", "five tokens in every branch, in one batch; no number: until each ends", decode],
  branch: ["branch 2", "work on branch 2 and what is below it; `branch 0` is the whole tree", branch],
  join: ["join stitch", `make branches one again: ${listed(Object.keys(HOW), "or")}; \`join select 2\``, join],
  write: ["write 7 * 3", "append words of your own to the branch", write],
  drop: ["drop 2", "let branch 2 go", drop],
};
