// The engine's own thread, so that nothing freezes. Every message is answered by one, {turn, state, seconds, items} or
// {turn, error}:
//
//     {turn, model, weights}  a model: plain data, and its weights in base64
//     {turn, prompt}          begin anew with this prompt
//     {turn, line}            a command; of none, the present state
import { bundleOf, Play } from "./play.js";

let bundle = null, play = null;

function unpacked(base64) {
  const letters = atob(base64), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes.buffer;
}

function answer({ model, weights, prompt, line }) {
  if (model) return (bundle = bundleOf(model, unpacked(weights))), null;
  if (prompt !== undefined) return (play = new Play(bundle, prompt)).state();
  return line ? play.do(line) : play.state();
}

addEventListener("message", ({ data }) => {
  const begun = performance.now();
  try {
    const state = answer(data);
    postMessage({ turn: data.turn, state, seconds: (performance.now() - begun) / 1000, items: play?.items ?? 0 });
  } catch (error) {
    postMessage({ turn: data.turn, error: error.message });
  }
});
