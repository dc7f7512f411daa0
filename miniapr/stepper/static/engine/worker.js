// The engine's own thread, so that nothing freezes. Every message that comes is answered by one, {turn, state} or
// {turn, error}:
//
//     {turn, model, weights}  a model: plain data, and its weights in base64
//     {turn, prompt}          begin anew with this prompt
//     {turn, line}            a command
import { bundleOf, Play } from "./play.js";

let bundle = null, play = null;

function answer({ model, weights, prompt, line }) {
  if (model) return (bundle = bundleOf(model, Uint8Array.from(atob(weights), (letter) => letter.charCodeAt(0)).buffer)), null;
  if (prompt !== undefined) return (play = new Play(bundle, prompt)).state();
  return play.do(line);
}

addEventListener("message", ({ data }) => {
  const begun = performance.now();
  try {
    const state = answer(data);
    postMessage({ turn: data.turn, state, seconds: (performance.now() - begun) / 1000 });
  } catch (error) {
    postMessage({ turn: data.turn, error: error.message });
  }
});
