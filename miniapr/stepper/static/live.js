// The live stepper: a command line and buttons over the recorded one. What is drawn is a trace like any other.

import { answered, html } from "./svg.js";
import { mount } from "./app.js";
import { code, levels } from "./levels.js";

const GROUPS = [
  ["Fork", [["fork 2", "in 2"], ["fork 3", "in 3"]]],
  ["Decode", [["decode 1", "1 token"], ["decode 5", "5 tokens"], ["decode", "to the end"]]],
  ["Join", [["join stitch", "stitch"], ["join contiguous", "contiguous"], ["join copied", "copied"], ["join reprefill", "re-prefill"]]],
];
const TRAVEL = [["undo", "\u21B6 undo"], ["redo", "\u21B7 redo"]];

/** Drives the live stepper in `root`. `send(line)` gives the new state (a promise); without a line, the present one. */
export function live(root, send) {
  const said = []; // what was typed, for the arrow keys
  let at = 0;
  let view = null;
  let alive = new Set();

  const input = html("input", {
    type: "text", id: "command", name: "command", placeholder: "fork 3", autocomplete: "off", autocapitalize: "none",
    spellcheck: "false", maxlength: "400", "aria-label": "Command",
  });
  const form = html("form", { class: "command-line" }, html("span", { "aria-hidden": "true" }, "\u203A"), input, html("button", { class: "main" }, "Run"));
  const answer = html("p", { class: "answer", role: "status" });
  const past = html("ol", { class: "past", "aria-label": "What led here: press one to go there" });
  const fixed = [...GROUPS.flatMap(([, some]) => some), ...TRAVEL].map(([line, text]) => [line, button(line, text)]);
  const byLine = new Map(fixed);
  const branches = html("div", { class: "group branches", role: "group", "aria-label": "Branch" });
  const bar = html("div", { class: "buttons" },
    ...GROUPS.map(([name, some]) =>
      html("div", { class: "group", role: "group", "aria-label": name }, html("span", { class: "name" }, name), ...some.map(([line]) => byLine.get(line)))),
    branches,
    html("div", { class: "group", role: "group", "aria-label": "Time" }, ...TRAVEL.map(([line]) => byLine.get(line))));
  const drawing = html("div", { class: "yours" });
  const head = html("div", { class: "head" });
  const level = levels(head, run);
  root.classList.add("stepper", "play");
  root.append(head, html("div", { class: "console" }, form, bar, answer, past), html("div", { class: "trees" }, drawing, level.goal));

  function button(line, text) {
    return html("button", { type: "button", title: line, onclick: () => run(line) }, text);
  }

  answered(form, () => {
    const line = input.value.trim();
    if (!line) return;
    input.value = "";
    run(line);
  });
  input.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    at = Math.max(0, Math.min(said.length, at + step));
    input.value = said[at] ?? "";
  });

  async function run(line) {
    if (root.getAttribute("aria-busy") === "true") return;
    root.setAttribute("aria-busy", "true");
    if (line && said.at(-1) !== line) said.push(line);
    at = said.length;
    try {
      show(await send(line), line);
    } catch (error) {
      tell(error.message, true);
    } finally {
      root.setAttribute("aria-busy", "false");
    }
  }

  function tell(text, wrong) {
    answer.replaceChildren(...text.split("\n").flatMap((row, i) => [...(i ? [html("br")] : []), ...code(row)]));
    answer.classList.toggle("wrong", wrong);
  }

  function show(state, line) {
    const onCard = !state.error && (line === "hint" || line.startsWith("level")); // the level's card says it
    tell(onCard ? "" : state.said, state.error);
    level.show(state);
    const can = new Set(state.offers);
    for (const [command, element] of fixed) element.disabled = !can.has(command);
    branches.replaceChildren(html("span", { class: "name" }, "Branch"), ...state.branches.map(choose(state, run)), ...state.offers
      .filter((offer) => offer.startsWith("drop") || offer.startsWith("join select"))
      .map((offer) => button(offer, offer.replace("join ", ""))));
    past.replaceChildren(...travel(state, run));
    if (state.error) return;
    alive = new Set(state.branches.map(({ id }) => id));
    const chosen = state.focus === state.branches[0].id ? null : state.focus;
    if (!view) view = mount(drawing, state.trace, { step: Infinity, onBranch: (id) => alive.has(id) && run(`branch ${id}`) });
    else view.load(state.trace, Infinity, chosen);
    if (line === "reset" || line.startsWith("level") || line === "free") input.focus();
  }

  run("");
  return { show, run, destroy: () => [view, level].forEach((part) => part?.destroy()) };
}

/** A button for each branch: press one to work on it and what is below it. */
function choose({ focus, branches }, run) {
  return ({ id, leaf, ended }) => html("button", {
    type: "button",
    class: leaf && ended ? "branch ended" : "branch",
    "aria-pressed": String(id === focus),
    title: `branch ${id}${leaf && ended ? ", has ended" : ""}`,
    onclick: () => run(`branch ${id}`),
  }, id === branches[0].id ? `${id}, all` : `${id}`);
}

/** Every state on the way here, and those that were undone. */
function travel({ history, future }, run) {
  const here = history.length;
  return ["start", ...history, ...future].map((line, i) => {
    const go = i < here ? `undo ${here - i}` : `redo ${i - here}`;
    const mark = i === here ? { "aria-current": "step", disabled: true } : { onclick: () => run(go) };
    return html("li", { class: i > here ? "undone" : "" }, html("button", { type: "button", title: i === here ? "here" : go, ...mark }, line));
  });
}
