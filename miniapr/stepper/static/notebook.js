// In a notebook: an anywidget, the kernel is the notebook's.

import { live } from "./live.js";

const widget = {
  render({ model, el }) {
    const send = (line) => {
      if (!line) return Promise.resolve(model.get("state"));
      return new Promise((done) => {
        model.once("change:state", () => done(model.get("state")));
        model.send({ line });
      });
    };
    const page = live(el, send);
    return () => page.destroy();
  },
};

export default widget;
