/** Decimals without loss: what a bound is in digits, and where a double ends and the next begins. */

/** 0.d₁d₂d₃… × 10^exponent, d₁ not 0; zero has no digits. Never negative. */
export interface Decimal {
  readonly digits: readonly number[];
  readonly exponent: number;
}

/** What JSON.stringify writes. @param value finite, not negative */
export function decimalOf(value: number): Decimal {
  const [mantissa, exponent] = value.toExponential().split('e') as [string, string];
  const digits = Array.from(mantissa.replace('.', ''), Number);
  while (digits.at(-1) === 0) digits.pop();
  return { digits, exponent: digits.length === 0 ? 0 : Number(exponent) + 1 };
}

/**
 * The border between a double and the one below it, exactly; what is written below it is read as the lower one.
 * `belongsBelow`: what is on the border is read as the lower one too (ties go to the even mantissa).
 */
export function borderBelow(value: number): { readonly at: Decimal; readonly belongsBelow: boolean } {
  const below = neighbour(value, -1);
  return { at: middle(below, value), belongsBelow: isEven(below) };
}

/** The same towards the next double above. */
export function borderAbove(value: number): { readonly at: Decimal; readonly belongsBelow: boolean } {
  const above = neighbour(value, 1);
  return { at: middle(value, above), belongsBelow: isEven(value) };
}

const view = new DataView(new ArrayBuffer(8));

function bitsOf(value: number): bigint {
  view.setFloat64(0, value);
  return view.getBigUint64(0);
}

function neighbour(value: number, step: -1 | 1): number {
  view.setBigUint64(0, bitsOf(value) + BigInt(step));
  return view.getFloat64(0);
}

function isEven(value: number): boolean {
  return (bitsOf(value) & 1n) === 0n;
}

/** mantissa × 2^exponent of a finite double that is not negative. */
function partsOf(value: number): { mantissa: bigint; exponent: number } {
  const bits = bitsOf(value);
  const biased = Number(bits >> 52n);
  const fraction = bits & (2n ** 52n - 1n);
  return biased === 0
    ? { mantissa: fraction, exponent: -1074 }
    : { mantissa: fraction + 2n ** 52n, exponent: biased - 1075 };
}

function middle(a: number, b: number): Decimal {
  const [left, right] = [partsOf(a), partsOf(b)];
  const exponent = Math.min(left.exponent, right.exponent);
  const sum =
    left.mantissa * 2n ** BigInt(left.exponent - exponent) + right.mantissa * 2n ** BigInt(right.exponent - exponent);
  return exactDecimal(sum, exponent - 1);
}

/** mantissa × 2^power */
function exactDecimal(mantissa: bigint, power: number): Decimal {
  // A negative power of two is so many decimals: 2^-n = 5^n × 10^-n.
  const whole = power >= 0 ? mantissa * 2n ** BigInt(power) : mantissa * 5n ** BigInt(-power);
  const text = whole.toString();
  const exponent = text.length + Math.min(power, 0);
  const digits = Array.from(text.replace(/0+$/, ''), Number);
  return { digits, exponent: digits.length === 0 ? 0 : exponent };
}
