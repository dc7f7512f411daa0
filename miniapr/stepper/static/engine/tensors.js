// Weights, and the loops that multiply by them. A matrix is a Float32Array, row by row.

/** What each of the 65,536 float16 numbers is: 1 sign bit, 5 of the exponent, 10 of the fraction. */
const HALVES = Float32Array.from({ length: 65536 }, (_, bits) => {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 0x1f, fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
});

const TYPES = {
  F32: (bytes) => new Float32Array(bytes),
  F16(bytes) {
    const halves = new Uint16Array(bytes), floats = new Float32Array(halves.length);
    for (let i = 0; i < halves.length; i++) floats[i] = HALVES[halves[i]];
    return floats;
  },
};

/** A safetensors file (an ArrayBuffer) -> {name: {shape, data}}. Throws an Error for one that is cut short. */
export function readTensors(file) {
  const size = file.byteLength >= 8 ? Number(new DataView(file).getBigUint64(0, true)) : Infinity;
  if (!(8 + size <= file.byteLength)) throw new Error(`the weights are cut short: ${file.byteLength} bytes`);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, size)));
  const found = {};
  for (const [name, { dtype, shape, data_offsets: [begin, end] }] of Object.entries(header)
    .filter(([name]) => name !== "__metadata__")) {
    if (8 + size + end > file.byteLength) throw new Error(`the weights are cut short: ${name} is not there`);
    if (!TYPES[dtype]) throw new Error(`${name} is of type ${dtype}; this engine reads F16 and F32`);
    found[name] = { shape, data: TYPES[dtype](file.slice(8 + size + begin, 8 + size + end)) };
  }
  return found;
}

/**
 * x [rows, k] times the transpose of weight [n, k] -> [rows, n], `add` [rows, n] added to it.
 *
 * A weight is loaded once for four rows: that is why branches in one batch cost less than one after the other.
 */
export function linear(x, weight, rows, add = null) {
  const k = x.length / rows, n = weight.length / k, out = new Float32Array(rows * n);
  let row = 0;
  for (; row + 4 <= rows; row += 4) fourRows(x, weight, row, k, n, out);
  for (; row < rows; row++) oneRow(x, weight, row, k, n, out);
  if (add) for (let i = 0; i < out.length; i++) out[i] += add[i];
  return out;
}

function oneRow(x, weight, row, k, n, out) {
  const at = row * k;
  let j = 0;
  for (; j + 4 <= n; j += 4) {
    const w0 = j * k, w1 = w0 + k, w2 = w1 + k, w3 = w2 + k;
    let a = 0, b = 0, c = 0, d = 0; // four sums at a time: none waits for another
    for (let i = 0; i < k; i++) {
      const value = x[at + i];
      a += value * weight[w0 + i];
      b += value * weight[w1 + i];
      c += value * weight[w2 + i];
      d += value * weight[w3 + i];
    }
    const to = row * n + j;
    out[to] = a;
    out[to + 1] = b;
    out[to + 2] = c;
    out[to + 3] = d;
  }
  for (; j < n; j++) {
    let sum = 0;
    for (let i = 0; i < k; i++) sum += x[at + i] * weight[j * k + i];
    out[row * n + j] = sum;
  }
}

/** Four rows by two columns at a time: eight sums for six numbers loaded. */
function fourRows(x, weight, row, k, n, out) {
  const x0 = row * k, x1 = x0 + k, x2 = x1 + k, x3 = x2 + k;
  for (let j = 0; j < n; j += 2) {
    const u = j * k, v = j + 1 < n ? u + k : u; // an odd last column is computed twice
    let a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
    for (let i = 0; i < k; i++) {
      const left = weight[u + i], right = weight[v + i];
      const first = x[x0 + i], second = x[x1 + i], third = x[x2 + i], fourth = x[x3 + i];
      a += left * first;
      b += left * second;
      c += left * third;
      d += left * fourth;
      e += right * first;
      f += right * second;
      g += right * third;
      h += right * fourth;
    }
    const last = v / k;
    let to = row * n;
    out[to + j] = a;
    out[to + last] = e;
    out[(to += n) + j] = b;
    out[to + last] = f;
    out[(to += n) + j] = c;
    out[to + last] = g;
    out[(to += n) + j] = d;
    out[to + last] = h;
  }
}

/** Each row of x [rows, n] over its root mean square, times `scale` [n] (Zhang and Sennrich 2019). */
export function rmsNorm(x, scale, rows, eps) {
  const n = x.length / rows, out = new Float32Array(x.length);
  for (let row = 0; row < rows; row++) {
    let sum = 0;
    for (let i = row * n; i < (row + 1) * n; i++) sum += x[i] * x[i];
    const by = 1 / Math.sqrt(sum / n + eps);
    for (let i = 0; i < n; i++) out[row * n + i] = x[row * n + i] * by * scale[i];
  }
  return out;
}

/** silu(gate) * up, in the place of gate. */
export function gated(gate, up) {
  for (let i = 0; i < gate.length; i++) gate[i] = (gate[i] / (1 + Math.exp(-gate[i]))) * up[i];
  return gate;
}
