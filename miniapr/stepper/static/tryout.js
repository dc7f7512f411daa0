// "Try it yourself": the live stepper with the engine in the page. Where that cannot run, the recorded run stays.
import { live } from "./live.js";
import { promptOf } from "./engine/countdown.js";
import { drawn, problemForm, problemOf } from "./problem.js";
import { html } from "./svg.js";
import { offered, start } from "./thinker.js";

const FALLBACK = "<bos> <adaptive> 8 7 3 -> 29 : <plan> b*c a-b a*b </plan>";

/** A button among the controls of a recorded run (`app`, which draws `data`) that puts the live stepper in its place; one
 * begins with the recorded run's prompt. Adds nothing where no engine is offered. */
export function tryout(app, data) {
  if (!offered()) return;
  const note = html("p", { class: "alive note", role: "status" }), place = html("div", { class: "tryout", hidden: true });
  const there = html("button", { type: "button", class: "try", "aria-label": "Try it yourself", title: "Another problem, another width: the engine runs in this page" }, "Try it");
  const back = html("button", { type: "button" }, "Back to the recorded run");
  const show = (live) => {
    [place.hidden, app.root.hidden] = [!live, live];
    (live ? back : there).focus({ preventScroll: true });
  };
  app.root.querySelector(".bar").append(there);
  app.root.before(place);
  app.said.after(note);
  let begun = null;
  back.addEventListener("click", () => show(false));
  there.addEventListener("click", async () => {
    there.disabled = true;
    if (!begun) note.textContent = "The engine starts, in this page.";
    try {
      await (begun ??= begin(place, data, back));
      note.textContent = "";
      show(true);
    } catch (error) {
      note.textContent = `The engine cannot run here (${error.message}). What you see is the recorded run.`;
    }
    there.disabled = false;
  });
}

/** The live stepper in `place`, and a way back; rejects if there is no engine for it. */
async function begin(place, data, back) {
  const thinker = await start(), prompt = promptIn(data, thinker.model), problem = problemOf(prompt);
  await thinker.open(prompt);
  const root = html("div", {}), page = live(root, (line) => thinker.ask({ line }));
  const open = async (problem, role) => page.show(await thinker.open(promptOf(problem, role)), "");
  root.prepend(html("div", { class: "alive" }, problem ? puzzle(problem, open, page) : null, back));
  place.append(root);
}

/** A form for another problem, and for the width of a fork. */
function puzzle({ numbers, target, role }, open, page) {
  const another = html("button", { type: "button" }, "Another puzzle");
  const width = html("input", { type: "number", min: 1, max: 16, value: 4, "aria-label": "Branches of a fork" });
  const fork = html("button", { type: "button", onclick: () => page.run(`fork ${width.value}`) }, "Fork in");
  const { form, set } = problemForm({ numbers, target }, "Begin", (problem) => open(problem, role), another, html("span", { class: "width" }, fork, width));
  another.addEventListener("click", () => {
    const problem = drawn();
    set(problem);
    open(problem, role);
  });
  return form;
}

/** The prompt that a trace begins with, if this model can read it. */
function promptIn({ runs: [{ about, events }] }, { words }) {
  const tokens = events.find(({ kind }) => kind === "started").data.tokens;
  return tokens.every((id) => words[id] === about.texts[id]) ? tokens.map((id) => words[id]).join(" ") : FALLBACK;
}
