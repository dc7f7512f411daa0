// The task of the model that ships: make a target of numbers, each used once (miniapr/tasks/countdown.py, arithmetic.py).

/** The prompt of a problem, its numbers from the largest to the smallest; `role`: the token that asks for a way to think. */
export function promptOf({ numbers, target }, role = "<adaptive>") {
  return `<bos> ${role} ${[...numbers].sort((a, b) => b - a).join(" ")} -> ${target} :`;
}

/** The expression after the last `answer` of a text, or null. */
export function answerOf(text) {
  const at = text.lastIndexOf("answer ");
  return at < 0 ? null : text.slice(at + 7).split("<")[0].trim() || null;
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
