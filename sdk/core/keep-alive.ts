/**
 * Keeps the program running until it is disposed: for a wait whose own handles are unreferenced, because what they
 * belong to must not keep a program alive that forgot it.
 *
 * @example
 * using _alive = keepAlive();
 * return await frame;
 */
export function keepAlive(): Disposable {
  const timer = setInterval(() => {}, LONG_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}
/** The longest that timers take. */
const LONG_MS = 2 ** 31 - 1;
