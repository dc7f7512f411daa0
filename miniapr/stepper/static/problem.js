// The puzzle that a page is about: read from a form, and put to the model.
import { answered, html } from "./svg.js";

export const PROMPT = /^<bos> (<\w+>) ((?:\d+ )+)-> (\d+) :/;
const RANGES = { low: 1, high: 20, target: 100 }; // what the model was trained on

/** The problem of a prompt, and the token that says how to think about it; null if there is none. */
export function problemOf(prompt) {
  const [, role, numbers, target] = PROMPT.exec(prompt) ?? [];
  return role ? { role, numbers: numbers.trim().split(" ").map(Number), target: Number(target) } : null;
}

/** Three numbers, and what a random way to combine them makes: so that it can be solved. */
export function drawn(random = Math.random) {
  const between = (low, high) => low + Math.floor(random() * (high - low + 1));
  for (;;) {
    const numbers = [1, 2, 3].map(() => between(RANGES.low, RANGES.high)).sort((a, b) => b - a);
    const [a, b, c] = numbers.sort(() => random() - 0.5), way = between(0, 3);
    const target = [a * b + c, a * b - c, (a + b) * c, a + b - c][way];
    if (target >= 1 && target <= RANGES.target) return { numbers: numbers.sort((x, y) => y - x), target };
  }
}

/** A form for a problem. `onSubmit({numbers, target})`; what is wrong with it is said beside it. */
export function problemForm({ numbers, target }, verb, onSubmit, ...more) {
  const given = html("input", { name: "numbers", value: numbers.join(" "), inputmode: "numeric", autocomplete: "off", size: 9, "aria-label": "Numbers, with spaces between them" });
  const goal = html("input", { name: "target", value: target, inputmode: "numeric", autocomplete: "off", size: 4, "aria-label": "Target" });
  const wrong = html("p", { class: "wrong", role: "alert" });
  const form = html("form", { class: "problem" },
    html("span", {}, "Make "), goal, html("span", {}, " of "), given, html("button", { class: "main" }, verb), ...more, wrong);
  answered(form, () => {
    const problem = { numbers: words(given.value), target: words(goal.value)[0] };
    wrong.textContent = mistake(problem);
    if (!wrong.textContent) onSubmit(problem);
  });
  return { form, set: (problem) => ((given.value = problem.numbers.join(" ")), (goal.value = problem.target)) };
}

const words = (text) => text.split(/[\s,]+/).filter(Boolean).map((word) => (/^\d{1,4}$/.test(word) ? Number(word) : NaN));

/** What is wrong with a problem, or "". */
function mistake({ numbers, target }) {
  const { low, high, target: most } = RANGES, within = (n, from, to) => n >= from && n <= to;
  if (numbers.length !== 3 || !numbers.every((n) => within(n, low, high))) return `The model was trained on three numbers of ${low} to ${high}.`;
  return within(target, 1, most) ? "" : `The model was trained on targets of 1 to ${most}.`;
}
