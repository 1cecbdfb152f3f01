import { useState } from 'preact/hooks';
import type { LogLine } from '../../../../api/schemas.js';
import { useRefreshed } from './health-page.js';

const REFRESH_MS = 3_000;
const LEVELS = ['info', 'warn', 'error'] as const;
type Level = (typeof LEVELS)[number];

/** The last lines of the service's log, from a level on. */
export function LogTail() {
  const { value, failure } = useRefreshed<{ lines: LogLine[] }>('/api/log', REFRESH_MS);
  const [level, setLevel] = useState<Level>('info');
  const [text, setText] = useState('');
  const rank = (of: LogLine['level']) => LEVELS.indexOf(of as Level);
  const shown = (value?.lines ?? [])
    .filter((line) => rank(line.level) >= rank(level) && line.message.toLowerCase().includes(text.toLowerCase()))
    .toReversed();
  return (
    <section aria-label="Log">
      <div class="row-of-fields">
        <label>
          From level
          <select value={level} onChange={({ currentTarget }) => setLevel(currentTarget.value as Level)}>
            {LEVELS.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <label class="grow">
          With the words
          <input type="search" value={text} onInput={({ currentTarget }) => setText(currentTarget.value)} />
        </label>
      </div>
      {failure !== undefined && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
      <ol class="card log" tabIndex={0} aria-label="Lines, newest first">
        {shown.map((line) => (
          <li key={line.seq} data-level={line.level}>
            <time dateTime={new Date(line.atMs).toISOString()}>{new Date(line.atMs).toLocaleTimeString()}</time>{' '}
            <b>{line.level}</b> {line.message}
          </li>
        ))}
        {shown.length === 0 && <li>{value === undefined ? 'Asking the device…' : 'Nothing of this kind.'}</li>}
      </ol>
    </section>
  );
}
