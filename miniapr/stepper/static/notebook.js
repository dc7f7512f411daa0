// In a notebook: an anywidget, the kernel is the notebook's.

import { live } from "./live.js";

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
    const page = live(el, send);
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
