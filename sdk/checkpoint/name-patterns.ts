/**
 * Regular expressions that name modules in somebody's config.json: written for Python, and perhaps by somebody who
 * means ill. Some take longer than the age of the universe (`(.*)*x`), and which these are cannot be told from their
 * text. So they run where V8 can stop them.
 */
import { type Context, createContext, Script } from 'node:vm';

const MAX_PATTERNS = 1024;
const MAX_LENGTH = 4096;
/** For one list of names (microseconds where nothing is wrong), and for all of a model. */
const MAX_CALL_MS = 1_000;
const MAX_TOTAL_MS = 10_000;

const FIRST_MATCH = new Script('patterns.findIndex((pattern) => names.some((name) => pattern.test(name)))');

export class NamePatterns {
  readonly #context: Context | undefined;
  #spentMs = 0;

  /**
   * @param texts As Python's `re.match` takes them: from the beginning, and not necessarily to the end.
   * @throws SyntaxError or RangeError for what is no expression, for too many, or too long ones
   */
  constructor(texts: readonly string[]) {
    if (texts.length > MAX_PATTERNS) throw new RangeError(`more than ${MAX_PATTERNS} expressions`);
    // A context of its own costs memory, and most models need none.
    if (texts.length > 0) this.#context = createContext({ patterns: texts.map(fromPython) });
  }

  /**
   * The index of the first that matches any of the names, or -1.
   * @throws RangeError when that takes too long
   */
  first(names: readonly string[]): number {
    if (this.#context === undefined) return -1;
    this.#context.names = names;
    const start = performance.now();
    try {
      if (this.#spentMs > MAX_TOTAL_MS) throw new RangeError(`matching takes more than ${MAX_TOTAL_MS} ms`);
      return FIRST_MATCH.runInContext(this.#context, { timeout: MAX_CALL_MS }) as number;
    } catch (cause) {
      throw new RangeError(`matching ${names[0]} failed: ${(cause as Error).message}`, { cause });
    } finally {
      this.#spentMs += performance.now() - start;
    }
  }
}

function fromPython(text: string): RegExp {
  if (text.length > MAX_LENGTH) throw new RangeError(`an expression of more than ${MAX_LENGTH} characters`);
  const inline = /^\(\?([aimsuL]+)\)/.exec(text);
  const flags = [...new Set(inline?.[1] ?? '')].filter((flag) => 'ims'.includes(flag)).join('');
  const body = text.slice(inline?.[0].length ?? 0);
  // Escapes and classes are matched first, so that nothing in them is taken for a group.
  const translated = body.replace(
    /\\[\s\S]|\[\^?\]?(?:\\[\s\S]|[^\]\\])*\]|\(\?P<|\(\?P=(\w+)\)/g,
    (part, name: string | undefined) => {
      if (part === '(?P<') return '(?<';
      if (name !== undefined) return `\\k<${name}>`;
      return { '\\A': '^', '\\Z': '(?![\\s\\S])' }[part] ?? part;
    },
  );
  return new RegExp(`^(?:${translated})`, flags);
}
