/**
 * What Python pickled, as far as it is data: RefCOCO is published so. Nothing is looked up and nothing is called: a pickle
 * that asks for a class or a function is refused. Protocols 0 to 5 (docs.python.org/3/library/pickletools.html).
 */
import { dataError } from './items.js';

const MOST_VALUES = 20_000_000;
/** No object: stands where a container begins. */
const MARK = Symbol('mark');

type Value = unknown;

/** Dictionaries become objects without a prototype; keys that are numbers become strings. @throws SdkError ERR_CONFIG_INVALID */
export function parsePickle(bytes: Uint8Array, file: string): unknown {
  return new PickleReader(bytes, file).read();
}

class PickleReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #file: string;
  readonly #stack: Value[] = [];
  readonly #memo = new Map<number, Value>();
  #at = 0;
  #values = 0;

  constructor(bytes: Uint8Array, file: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#file = file;
  }

  read(): unknown {
    for (;;) {
      const code = String.fromCharCode(this.#byte());
      if (code === '.') return this.#pop();
      this.#step(code);
    }
  }

  #step(code: string): void {
    const push = (value: Value): void => {
      if (++this.#values > MOST_VALUES) throw this.#fault(`more than ${MOST_VALUES} values`);
      this.#stack.push(value);
    };
    switch (code) {
      case '\x80': // PROTO
        if (this.#byte() > 5) throw this.#fault('a protocol after 5');
        return;
      case '\x95': // FRAME: how much follows, which we have anyway
        this.#take(8);
        return;
      case '(':
        push(MARK);
        return;
      case '0':
        this.#pop();
        return;
      case '1':
        this.#toMark();
        return;
      case '2':
        push(this.#top());
        return;
      case 'N':
        push(null);
        return;
      case '\x88':
        push(true);
        return;
      case '\x89':
        push(false);
        return;
      case 'I': {
        const text = this.#line();
        push(text === '00' ? false : text === '01' ? true : this.#number(text));
        return;
      }
      case 'L':
        push(this.#number(this.#line().replace(/L$/, '')));
        return;
      case 'F':
        push(this.#number(this.#line()));
        return;
      case 'J':
        push(this.#view.getInt32(this.#skip(4), true));
        return;
      case 'K':
        push(this.#byte());
        return;
      case 'M':
        push(this.#view.getUint16(this.#skip(2), true));
        return;
      case 'G':
        push(this.#view.getFloat64(this.#skip(8)));
        return;
      case '\x8a':
        push(this.#long(this.#byte()));
        return;
      case 'S':
        push(unquoted(this.#line()));
        return;
      case 'V':
        push(
          this.#line().replaceAll(/\\u([0-9a-f]{4})/gi, (_, hex: string) =>
            String.fromCharCode(Number.parseInt(hex, 16)),
          ),
        );
        return;
      case 'U':
      case 'C':
      case '\x8c':
        push(this.#text(this.#byte()));
        return;
      case 'T':
      case 'X':
      case 'B':
        push(this.#text(this.#view.getUint32(this.#skip(4), true)));
        return;
      case ']':
        push([]);
        return;
      case '}':
        push(Object.create(null));
        return;
      case ')':
        push([]);
        return;
      case 'l':
      case 't':
        push(this.#toMark());
        return;
      case '\x85':
      case '\x86':
      case '\x87':
        push(this.#stack.splice(-(code.charCodeAt(0) - 0x84)));
        return;
      case 'd':
        push(this.#fill(Object.create(null), this.#toMark()));
        return;
      case 'a': {
        const value = this.#pop();
        this.#list().push(value);
        return;
      }
      case 'e': {
        const values = this.#toMark();
        const list = this.#list();
        for (const value of values) list.push(value);
        return;
      }
      case 's': {
        const value = this.#pop();
        const key = this.#pop();
        this.#fill(this.#top(), [key, value]);
        return;
      }
      case 'u': {
        const pairs = this.#toMark();
        this.#fill(this.#top(), pairs);
        return;
      }
      case 'p':
        this.#memo.set(this.#number(this.#line()), this.#top());
        return;
      case 'q':
        this.#memo.set(this.#byte(), this.#top());
        return;
      case 'r':
        this.#memo.set(this.#view.getUint32(this.#skip(4), true), this.#top());
        return;
      case '\x94':
        this.#memo.set(this.#memo.size, this.#top());
        return;
      case 'g':
        push(this.#remembered(this.#number(this.#line())));
        return;
      case 'h':
        push(this.#remembered(this.#byte()));
        return;
      case 'j':
        push(this.#remembered(this.#view.getUint32(this.#skip(4), true)));
        return;
      default: {
        const isCall = 'cioRbPQ\x81\x82\x83\x84\x92\x93'.includes(code);
        throw this.#fault(
          isCall
            ? 'a class or a call, which only Python may run; convert it to JSON'
            : `the code ${JSON.stringify(code)}`,
        );
      }
    }
  }

  #fill(target: Value, pairs: readonly Value[]): Value {
    if (typeof target !== 'object' || target === null || Array.isArray(target))
      throw this.#fault('pairs outside of a dictionary');
    for (let i = 0; i + 1 < pairs.length; i += 2) (target as Record<string, Value>)[String(pairs[i])] = pairs[i + 1];
    return target;
  }

  #list(): Value[] {
    const list = this.#top();
    if (!Array.isArray(list)) throw this.#fault('values outside of a list');
    return list;
  }

  #toMark(): Value[] {
    const start = this.#stack.lastIndexOf(MARK);
    if (start === -1) throw this.#fault('an end without a beginning');
    const values = this.#stack.splice(start);
    values.shift();
    return values;
  }

  #top(): Value {
    if (this.#stack.length === 0) throw this.#fault('nothing where a value is needed');
    return this.#stack.at(-1);
  }

  #pop(): Value {
    const value = this.#top();
    this.#stack.pop();
    return value;
  }

  #remembered(index: number): Value {
    if (!this.#memo.has(index)) throw this.#fault('a reference to nothing');
    return this.#memo.get(index);
  }

  #number(text: string): number {
    const value = Number(text);
    if (text === '' || Number.isNaN(value)) throw this.#fault(`${JSON.stringify(text.slice(0, 20))} for a number`);
    return value;
  }

  #long(size: number): number {
    const at = this.#skip(size);
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#bytes[at + i]!);
    return Number(BigInt.asIntN(8 * size, value));
  }

  #text(size: number): string {
    const at = this.#skip(size);
    return new TextDecoder().decode(this.#bytes.subarray(at, at + size));
  }

  #line(): string {
    const end = this.#bytes.indexOf(10, this.#at);
    if (end === -1) throw this.#fault('the end within a line');
    const text = new TextDecoder('latin1').decode(this.#bytes.subarray(this.#at, end));
    this.#at = end + 1;
    return text.replace(/\r$/, '');
  }

  #byte(): number {
    return this.#bytes[this.#skip(1)]!;
  }

  #take(size: number): Uint8Array {
    const at = this.#skip(size);
    return this.#bytes.subarray(at, at + size);
  }

  #skip(size: number): number {
    const at = this.#at;
    if (at + size > this.#bytes.length) throw this.#fault('the end within a value');
    this.#at = at + size;
    return at;
  }

  #fault(found: string) {
    return dataError(this.#file, `expected a pickle of plain data but found ${found} (byte ${this.#at})`);
  }
}

/** Python's `repr` of a string of bytes. */
function unquoted(text: string): string {
  const inner = text.slice(1, -1);
  const escapes: Record<string, string> = { n: '\n', t: '\t', r: '\r', '\\': '\\', "'": "'", '"': '"' };
  return inner.replaceAll(/\\(?:x([0-9a-f]{2})|(.))/g, (_, hex: string | undefined, sign: string) =>
    hex === undefined ? (escapes[sign] ?? `\\${sign}`) : String.fromCharCode(Number.parseInt(hex, 16)),
  );
}
