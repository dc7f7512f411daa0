// The task of the model that ships: make a target of numbers, each used once (miniapr/tasks/countdown.py, arithmetic.py).

/** The prompt of a problem, its numbers from the largest to the smallest; `role`: the token that asks for a way to think. */
export function promptOf({ numbers, target }, role = "<adaptive>") {
  return `<bos> ${role} ${[...numbers].sort((a, b) => b - a).join(" ")} -> ${target} :`;
}

const STEP = /^([a-d])([-+*/])([a-d])$/; // `b*c`: the product of the second and the third number that are left

const NAMES = { "+": "sum", "-": "difference", "*": "product", "/": "quotient" };
const ORDINALS = ["first", "second", "third", "fourth"];

/** What a word means that is a step; null if it is none. */
export function meaning(word) {
  const [, first, op, second] = STEP.exec(word) ?? [];
  const [i, j] = [first, second].map((place) => ORDINALS["abcd".indexOf(place)]);
  return op ? `the ${NAMES[op]} of the ${i} and the ${j} number left` : null;
}

/** How texts are read in which steps are words; "" where there are none. `texts`: of the tokens of a run. */
export function reading(texts) {
  const step = Object.values(texts).find(meaning);
  return step ? `${step}: ${meaning(step)}. Its result stands behind it, then what is left.` : "";
}

/** The steps that a text ends with, after a hit or a join, as one expression; null if there are none, or one is not legal. */
export function answerOf(text, { numbers }) {
  const words = text.split(" ");
  while (["<eos>", "</thread>"].includes(words.at(-1))) words.pop();
  const begin = words.findLastIndex((word) => !STEP.test(word)) + 1;
  if (begin && !["hit", "<join>"].includes(words[begin - 1])) return null;
  let parts = [...numbers].sort((a, b) => b - a).map((value) => ({ value, text: `${value}` }));
  for (const word of words.slice(begin)) {
    const [, first, op, second] = STEP.exec(word), two = [first, second].map((place) => parts["abcd".indexOf(place)]);
    if (first >= second || !two[1]) return null;
    const [left, right] = two.sort((a, b) => b.value - a.value), value = { ...PRODUCT, ...SUM }[op](left.value, right.value);
    if (Number.isNaN(value)) return null;
    parts = [{ value, text: `( ${left.text} ${op} ${right.text} )` }, ...parts.filter((part) => !two.includes(part))];
  }
  return parts.length === 1 && begin < words.length ? parts[0].text.slice(2, -2) : null;
}

/** Whether an expression solves a problem exactly: only + - * / and brackets, each number used as often as given, no
 * negative intermediate result, no inexact division. Never throws. */
export function verify(text, { numbers, target }) {
  const words = text?.match(/\d+|\S/g) ?? [], used = words.filter((word) => /^\d+$/.test(word)).map(Number);
  const same = `${used.sort((a, b) => a - b)}` === `${[...numbers].sort((a, b) => a - b)}`;
  return same && valueOf(words) === target;
}

const PRODUCT = { "*": (a, b) => a * b, "/": (a, b) => (b && a % b === 0 ? a / b : NaN) };
const SUM = { "+": (a, b) => a + b, "-": (a, b) => (a >= b ? a - b : NaN) };

/** The value of an expression, cut into numbers and signs; NaN if it is none, or breaks a rule. */
function valueOf(words) {
  let at = 0;
  const chain = (table, part) => {
    let value = part();
    while (Object.hasOwn(table, words[at] ?? "")) value = table[words[at++]](value, part());
    return value;
  };
  const factor = () => {
    const word = words[at++];
    if (word !== "(") return /^\d+$/.test(word ?? "") ? Number(word) : NaN;
    const value = sum();
    return words[at++] === ")" ? value : NaN;
  };
  const product = () => chain(PRODUCT, factor), sum = () => chain(SUM, product);
  const value = sum();
  return at === words.length ? value : NaN;
}
