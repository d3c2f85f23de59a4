// HiPPO's systems, as minimamba.s4.hippo has them: LegS, LegT and FouT.

const range = (n) => Array.from({ length: n }, (_, i) => i);

/** P₀ to Pₙ at z, the Legendre polynomials; n is at least 1. */
function legendre(n, z) {
  const P = new Float64Array(n + 1);
  [P[0], P[1]] = [1, z];
  for (let k = 1; k < n; k++) P[k + 1] = ((2 * k + 1) * z * P[k] - k * P[k - 1]) / (k + 1);
  return P;
}

/** The scalar product, as long as the first of two vectors. */
export function dot(one, other) {
  let sum = 0;
  for (let i = 0; i < one.length; i++) sum += one[i] * other[i];
  return sum;
}

/** The basis functions at one age, as a fraction of the window, from 0 (now) to 1. */
export function basis(measure, N, age) {
  if (measure !== "fout") {
    return legendre(N - 1, 1 - 2 * age).map((P, n) => Math.sqrt(2 * n + 1) * P);
  }
  return range(N).map((n) => {
    const angle = 2 * Math.PI * Math.ceil(n / 2) * age;
    return n ? Math.SQRT2 * (n % 2 ? Math.cos(angle) : Math.sin(angle)) : 1;
  });
}

/** A and B of LegT or FouT, for a window of length 1. */
function matrices(measure, N) {
  const root = (n) => Math.sqrt(2 * n + 1);
  if (measure === "legt") {
    return { B: range(N).map(root), A: range(N).map((n) => range(N).map((k) =>
      -root(n) * root(k) * (k > n && (k - n) % 2 ? -1 : 1))) };
  }
  const now = basis("fout", N, 0);
  const A = now.map((one) => now.map((other) => -2 * one * other));
  for (let n = 1; n < N; n += 2) {
    A[n][n + 1] -= Math.PI * (n + 1);
    A[n + 1][n] += Math.PI * (n + 1);
  }
  return { A, B: now.map((value) => 2 * value) };
}

function product(X, Y) {
  return X.map((row) => {
    const sums = new Float64Array(Y.length);
    row.forEach((x, k) => {
      if (x !== 0) for (let j = 0; j < sums.length; j++) sums[j] += x * Y[k][j];
    });
    return sums;
  });
}

/** exp(M): the series for M / 2ˢ, squared s times. */
function exponential(M) {
  const norm = Math.max(...M.map((row) => row.reduce((sum, x) => sum + Math.abs(x), 0)));
  const squarings = Math.max(0, Math.ceil(Math.log2(norm)) + 1);
  const small = M.map((row) => Float64Array.from(row, (x) => x / 2 ** squarings));
  let result = M.map((_, i) => Float64Array.from(M, (_, j) => Number(i === j)));
  for (let n = 16; n > 0; n--) {                            // 1 + M/1 (1 + M/2 (1 + M/3 (…)))
    result = product(small, result).map((row, i) =>
      row.map((x, j) => x / n + Number(i === j)));
  }
  for (let s = 0; s < squarings; s++) result = product(result, result);
  return result;
}

/** LegS is exact: the state is the projection of the samples, each held until the next one. */
export function projection(N, x, k) {
  const c = new Float64Array(N);
  let before = legendre(N, -1);
  for (let i = 0; i < k; i++) {
    const after = legendre(N, (2 * (i + 2)) / (k + 1) - 1);
    c[0] += x[i] * (after[1] - before[1]);
    for (let n = 1; n < N; n++) {                           // ∫ (2n + 1) Pₙ = Pₙ₊₁ − Pₙ₋₁
      c[n] += x[i] * (after[n + 1] - before[n + 1] - after[n - 1] + before[n - 1]);
    }
    before = after;
  }
  return c.map((sum, n) => sum / (2 * Math.sqrt(2 * n + 1)));
}

/**
 * The states of LegT or FouT at every sample: the system is run with each sample held, for `step`
 * windows.
 */
export function run(measure, N, x, step) {
  const { A, B } = matrices(measure, N);
  const scaled = A.map((row, n) => [...row, B[n]].map((value) => value * step));
  const exact = exponential([...scaled, Array(N + 1).fill(0)]);
  let c = Float64Array.from(range(N), (n) => (n ? 0 : x[0]));
  return [c, ...x.slice(0, -1).map((input) => {
    const before = c;
    c = before.map((_, n) => dot(before, exact[n]) + exact[n][N] * input);
    return c;
  })];
}
