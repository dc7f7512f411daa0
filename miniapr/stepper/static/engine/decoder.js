// A decoder like Llama: RMSNorm, RoPE, grouped-query attention, SwiGLU (miniapr/model/decoder.py, layer.py, rope.py).
import { gated, linear, readTensors, rmsNorm } from "./tensors.js";

const LAYER = {
  norm: "input_layernorm", q: "self_attn.q_proj", k: "self_attn.k_proj", v: "self_attn.v_proj", o: "self_attn.o_proj",
  after: "post_attention_layernorm", gate: "mlp.gate_proj", up: "mlp.up_proj", down: "mlp.down_proj",
};

export class Decoder {
  /** `config` as in config.json; `file`: an ArrayBuffer of safetensors. Throws an Error if they do not fit. */
  constructor(config, file) {
    const tensors = readTensors(file);
    const take = (name, ...shape) => {
      const found = tensors[`${name}.weight`];
      if (`${found?.shape}` !== `${shape}`) throw new Error(`${name} is of shape ${found?.shape}, not ${shape}`);
      return found.data;
    };
    const { hidden_size: width, intermediate_size: inner, head_dim: size, vocab_size: words } = config;
    const queries = config.num_attention_heads * size, keys = config.num_key_value_heads * size;
    const shapes = {
      norm: [width], q: [queries, width], k: [keys, width], v: [keys, width], o: [width, queries],
      after: [width], gate: [inner, width], up: [inner, width], down: [width, inner],
    };
    this.config = config;
    this.embedding = take("model.embed_tokens", words, width);
    this.layers = Array.from({ length: config.num_hidden_layers }, (_, number) => Object.fromEntries(
      Object.entries(LAYER).map(([name, path]) => [name, take(`model.layers.${number}.${path}`, ...shapes[name])])));
    this.norm = take("model.norm", width);
    this.head = config.tie_word_embeddings ? this.embedding : take("lm_head", words, width);
  }

  /** cos and sin [D / 2] of the rotation by so many positions (Su et al. 2021, section 3.2). Rotations add up: that is
   * why a key can be seen as moved. */
  turn(by) {
    const { head_dim: size, rope_theta: theta } = this.config;
    const angles = Array.from({ length: size / 2 }, (_, i) => by * theta ** ((-2 * i) / size));
    return { cos: Float32Array.from(angles, Math.cos), sin: Float32Array.from(angles, Math.sin) };
  }

  /**
   * Compute N new tokens against the pool, and store their keys and values in it.
   *
   * tokens, positions, slots  [N]; slots: where each token's key and value go
   * sees    [N], of each the stretches that it attends to, itself included: [{slots, shift}]
   * wanted  [M], the rows whose logits are asked for
   * pool    keys, values: of each layer [slots, H * D]
   * Returns M logits, [vocab_size] each.
   */
  compute({ tokens, positions, slots, sees, wanted }, pool) {
    const { hidden_size: width, head_dim: size, rms_norm_eps: eps } = this.config, rows = tokens.length;
    const turns = positions.map((position) => this.turn(position));
    let x = new Float32Array(rows * width);
    tokens.forEach((token, row) => x.set(this.embedding.subarray(token * width, (token + 1) * width), row * width));
    this.layers.forEach((layer, number) => {
      const normed = rmsNorm(x, layer.norm, rows, eps);
      const [q, k, v] = [layer.q, layer.k, layer.v].map((weight) => linear(normed, weight, rows));
      const across = k.length / rows, keys = pool.keys[number], values = pool.values[number];
      turns.forEach((turn, row) => {
        rotate(q, row * (q.length / rows), q.length / rows, turn, size);
        rotate(k, row * across, across, turn, size);
        // Written before it is read: a token attends to itself, and rows of one chunk to each other.
        keys.set(k.subarray(row * across, (row + 1) * across), slots[row] * across);
        values.set(v.subarray(row * across, (row + 1) * across), slots[row] * across);
      });
      x = linear(this.attend(q, sees, keys, values), layer.o, rows, x);
      const again = rmsNorm(x, layer.after, rows, eps);
      x = linear(gated(linear(again, layer.gate, rows), linear(again, layer.up, rows)), layer.down, rows, x);
    });
    const last = new Float32Array(wanted.length * width);
    wanted.forEach((row, i) => last.set(x.subarray(row * width, (row + 1) * width), i * width));
    const logits = wanted.length ? linear(rmsNorm(last, this.norm, wanted.length, eps), this.head, wanted.length) : last;
    return wanted.map((_, i) => logits.slice(i * this.config.vocab_size, (i + 1) * this.config.vocab_size));
  }

  /** q [N, Hq * D] -> [N, Hq * D]. A key seen as moved by a shift scores as the query turned back by it. */
  attend(q, sees, keys, values) {
    const { num_attention_heads: heads, num_key_value_heads: shared, head_dim: size } = this.config;
    const out = new Float32Array(q.length), across = shared * size;
    sees.forEach((stretches, row) => {
      const begin = row * heads * size;
      const seen = stretches.map(({ slots, shift }) => {
        const query = q.slice(begin, begin + heads * size);
        if (shift) rotate(query, 0, query.length, this.turn(-shift), size);
        return { slots, query };
      });
      const count = stretches.reduce((sum, { slots }) => sum + slots.length, 0);
      for (let head = 0; head < heads; head++) {
        const at = Math.floor((head * shared) / heads) * size;
        oneHead(seen, new Float64Array(count), keys, values, across, at, head * size, size, out.subarray(begin + head * size));
      }
    });
    return out;
  }
}

/** softmax(q k / sqrt(D)) v over all that is seen. `at`: where the head's part of a key begins; `from`: of the query. */
function oneHead(seen, weights, keys, values, across, at, from, size, out) {
  const scale = 1 / Math.sqrt(size);
  let most = -Infinity, total = 0, number = 0;
  for (const { slots, query } of seen)
    for (const slot of slots) {
      let score = 0;
      for (let i = 0, key = slot * across + at; i < size; i++) score += query[from + i] * keys[key + i];
      weights[number++] = score *= scale;
      if (score > most) most = score;
    }
  for (let i = 0; i < number; i++) total += weights[i] = Math.exp(weights[i] - most);
  number = 0;
  for (const { slots } of seen)
    for (const slot of slots) {
      const weight = weights[number++] / total;
      for (let i = 0, value = slot * across + at; i < size; i++) out[i] += weight * values[value + i];
    }
}

/** Turn the pairs (i, i + D / 2) of every head in `length` numbers from `begin` on, in place. */
export function rotate(x, begin, length, { cos, sin }, size) {
  const half = size / 2;
  for (let head = begin; head < begin + length; head += size)
    for (let i = head, pair = 0; pair < half; i++, pair++) {
      const a = x[i], b = x[i + half];
      x[i] = a * cos[pair] - b * sin[pair];
      x[i + half] = b * cos[pair] + a * sin[pair];
    }
}
