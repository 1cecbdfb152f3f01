/** Server-sent events as far as this API uses them. https://html.spec.whatwg.org/multipage/server-sent-events.html */
import { StringDecoder } from 'node:string_decoder';

/** Of one event, and of one line. */
const EVENT_CHARACTERS = 2 ** 20;

/** The data of each event. @throws RangeError for one that is longer than any answer needs */
export async function* eventData(pieces: AsyncIterable<Buffer>): AsyncGenerator<string, void, void> {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  let data: string[] = [];
  let size = 0;
  for await (const piece of pieces) {
    const text = decoder.write(piece);
    rest += text;
    if (rest.length > EVENT_CHARACTERS + piece.length) throw tooLong();
    // Whoever sends a long line byte by byte must not have all of it looked through each time.
    if (!/[\r\n]/.test(text) && !rest.endsWith('\r')) continue;
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop()!;
    for (const line of lines) {
      if (line === '') {
        if (data.length > 0) yield data.join('\n');
        [data, size] = [[], 0];
      } else if (line.startsWith('data:')) {
        const value = line.slice(line.startsWith('data: ') ? 6 : 5);
        size += value.length;
        if (size > EVENT_CHARACTERS) throw tooLong();
        data.push(value);
      }
      // Other fields (event, id, retry) and comments, which keep a connection open, say nothing here.
    }
  }
}

function tooLong(): RangeError {
  return new RangeError(`an event of it is longer than ${EVENT_CHARACTERS} characters`);
}
