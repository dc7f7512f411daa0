// How branches begin: with words that were given, the items of a plan, or what the model thinks likeliest; and which
// branch a command means (miniapr/stepper/beginnings.py).
import { readPlan } from "./grammar.js";

export const LIMITS = { tokens: 10000, width: 16, depth: 4 };

/** Of a fork: so many beginnings, or words of one's own with bars between them. */
export function thoughts(tree, parent, rest) {
  if (!counted(rest, "fork")) return words(tree, rest, [tree.control.thread]);
  const count = width(rest, "fork 3"), items = planned(tree, parent, count);
  if (items.length) return Array.from({ length: count }, (_, i) => [tree.control.thread, ...(items[i] ?? [])]);
  tree.engine.settle([parent]);
  const order = [...parent.logits.keys()].sort((a, b) => parent.logits[b] - parent.logits[a] || a - b);
  return order.filter((token) => !tree.control.special.has(token)).slice(0, count).map((token) => [token]);
}

/** Of a weave: who sees each other is told apart by a number. */
export function voices(tree, parent, rest) {
  if (!counted(rest, "weave")) return words(tree, rest, [tree.control.thread]);
  return Array.from({ length: width(rest, "weave 2") }, (_, i) => [tree.control.thread, ...encode(tree, `${i + 1}`)]);
}

/** Of children that are given nothing: the parent's own question, asked in the role of a child, and an item of the plan,
 * or words of one's own. */
export function questions(tree, parent, rest) {
  const asked = question(tree);
  if (!counted(rest, "spawn")) return words(tree, rest, asked);
  const count = width(rest, "spawn 2"), items = planned(tree, parent, count);
  if (!asked.length || items.length < count) throw new Error(`${items.length} of ${count} children have a question: say them yourself, \`spawn a | b\``);
  return items.map((item) => [...asked, ...item]);
}

/** The items of the plan that the branch ends with, `count` at most. */
export const planned = (tree, parent, count) => readPlan(parent.history, tree.control, count);

/** The one token that is waited for. */
export function wordThatEnds(tree, rest) {
  const tokens = rest ? encode(tree, rest) : tree.hit === null ? [] : [tree.hit];
  if (tokens.length !== 1) throw new Error(`\`cancel\` waits for one word, as in \`cancel hit\`, not '${rest}'`);
  return tokens[0];
}

/** The one branch that is meant. */
export function only(tree, what) {
  const { leaves } = tree;
  if (leaves.length === 1) return leaves[0];
  throw new Error(`which branch is to ${what}? There are ${listed(leaves.map((leaf) => leaf.id))}: say \`branch ${leaves[0].id}\` first`);
}

export const encode = (tree, text) => tree.engine.tokenizer.encode(text);

/** A small whole number. Throws an Error for anything else, with an example of the command's use. */
export function number(text, example) {
  if (!/^\d{1,5}$/.test(text)) throw new Error(`\`${example.split(" ")[0]}\` takes a whole number, as in \`${example}\`, not '${text}'`);
  return Number(text);
}

/** 1, 2 and 3 */
export function listed(names, word = "and") {
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} ${word} ${names.at(-1)}` : `${names[0] ?? ""}`;
}

/** Whether a number of branches is asked for. */
function counted(rest, name) {
  if (!rest) throw new Error(`${name} into how many? For example \`${name} 3\``);
  return /^[+-]*\d+$/.test(rest);
}

function width(rest, example) {
  const count = number(rest, example);
  if (!(count >= 1 && count <= LIMITS.width)) throw new Error(`a fork makes 1 to ${LIMITS.width} branches, not ${count}`);
  return count;
}

function words(tree, rest, before) {
  const parts = rest.split("|");
  if (!parts.every((part) => part.trim())) throw new Error("a branch has no beginning: put words on both sides of each |");
  return parts.map((part) => [...before, ...encode(tree, part)]);
}

/** The prompt up to its plan, its role exchanged for a child's. */
function question({ control, root }) {
  if (control.child === undefined) return [];
  const asked = root.children.length ? root.history : root.history.slice(0, root.first), plan = asked.indexOf(control.plan);
  return [asked[0], control.child, ...asked.slice(2, plan < 0 ? root.first : plan)];
}
