// In a notebook: an anywidget, the kernel is the notebook's. It is a page inside of someone else's, so it has a style
// scope of its own (a notebook floats every `dt`, say) and keys of its own (a notebook takes Enter for itself).

import { html } from "./svg.js";
import { live } from "./live.js";

/** An element in `el` that neither gets the page's style sheets nor gives its keys away. */
function ours(el, style) {
  const root = html("div");
  el.attachShadow({ mode: "open" }).append(html("style", {}, style), html("div", { style: "all: initial; display: block" }, root));
  el.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab looks at keys first, but not at those from here
  for (const kind of ["keydown", "keypress", "keyup"]) root.addEventListener(kind, (event) => event.stopPropagation());
  return root;
}

const widget = {
  render({ model, el }) {
    let waiting = null; // who sent a command and gets the next state; else the session was driven from a cell
    const send = (line) => {
      if (!line) return Promise.resolve(model.get("state"));
      return new Promise((done) => {
        waiting = done;
        model.send({ line });
      });
    };
    const page = live(ours(el, model.get("style")), send);
    const changed = () => {
      const [answer, state] = [waiting, model.get("state")];
      waiting = null;
      answer ? answer(state) : page.show(state, "");
    };
    model.on("change:state", changed);
    return () => {
      model.off("change:state", changed);
      page.destroy();
    };
  },
};

export default widget;
