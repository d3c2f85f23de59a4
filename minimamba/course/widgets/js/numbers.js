// Numbers as text.

/** A number as Python's format(x, ".3g") writes it, for digits = 3. */
export function formatGeneral(x, digits) {
  if (x === 0 || !Number.isFinite(x)) return String(x);
  const [mantissa, exponent] = x.toExponential(digits - 1).split("e");
  const short = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  const power = Number(exponent);
  if (power >= -4 && power < digits) return short(x.toFixed(digits - 1 - power));
  return `${short(mantissa)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

/** A positive number with three digits, and never as a power of 10: 69300 as "69,300". */
export function formatCount(x) {
  const rounded = Number(x.toPrecision(3));
  return rounded < 1000 ? formatGeneral(rounded, 3) : rounded.toLocaleString("en-US");
}

/** A number with a minus sign instead of a hyphen, with a fixed number of decimals if given. */
export function withMinus(x, decimals) {
  return (decimals === undefined ? String(x) : x.toFixed(decimals)).replace("-", "−");
}
