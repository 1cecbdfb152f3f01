/** Random lower-case hexadecimal digits. Pages without https have no `crypto.randomUUID`, but they have this. */
export function randomId(digits: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(Math.ceil(digits / 2)));
  return [...bytes]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join('')
    .slice(0, digits);
}
