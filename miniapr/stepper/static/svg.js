// Small helpers: elements, the colours of spans, ranges of numbers as text.

export const SPANS = [
  "#8ecae6", "#ffc94d", "#a7d49b", "#f4978e", "#cdb4db", "#d9c58b", "#7fdcd1", "#f2a6c9",
  "#b5b9ff", "#c7e06f", "#e0a878", "#c3ccd4", "#9fb8d9", "#e3d44f", "#8fbfa0", "#d99ad9",
]; // the same in every picture of the package (miniapr/show/draw.py)

export const colour = (span) => SPANS[span % SPANS.length];

/** An SVG element. Text is always set as text, never as markup. */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  return filled(element, attributes, children);
}

/** An HTML element. */
export function html(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** What Enter in a form's fields, and a press on its first button, do. Nothing is submitted: a sandboxed frame may not. */
export function answered(form, act) {
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches("input")) return;
    event.preventDefault();
    act();
  });
  const button = form.querySelector("button");
  button.type = "button";
  button.addEventListener("click", act);
}

/** [3, 4, 5, 9] as "3-5 9". */
export function ranges(numbers) {
  const found = [];
  for (const n of [...numbers].sort((a, b) => a - b)) {
    const last = found.at(-1);
    if (last && last[1] === n - 1) last[1] = n;
    else found.push([n, n]);
  }
  return found.map(([a, b]) => (a === b ? `${a}` : `${a}-${b}`)).join(" ");
}

/** "3–5", and "−10 to −3" where a dash might be a sign. */
export const fromTo = (first, last) => `${minus(first)}${first < 0 ? " to " : "–"}${minus(last)}`;

export const minus = (n) => `${n}`.replace("-", "\u2212");

export const signed = (n) => (n > 0 ? `+${n}` : `${n}`);
