import { useEffect, useState } from 'preact/hooks';

export interface Filters {
  readonly text: string;
  readonly kinds: readonly string[];
  /** Empty: all. */
  readonly camera: string;
  /** As a field of local time has it; empty: open. */
  readonly from: string;
  readonly to: string;
}

const KINDS = [
  ['scene', 'Descriptions'],
  ['answer', 'Answers'],
  ['watch', 'Watches'],
  ['status', 'Cameras'],
  ['problem', 'Problems'],
] as const;

export const FIRST_FILTERS: Filters = {
  text: '',
  kinds: ['scene', 'answer', 'watch', 'problem'],
  camera: '',
  from: '',
  to: '',
};

/** As the API takes them. */
export function queryOf({ text, kinds, camera, from, to }: Filters): URLSearchParams {
  const query = new URLSearchParams();
  if (kinds.length > 0) query.set('kinds', kinds.join(','));
  if (camera !== '') query.set('camera', camera);
  if (text !== '') query.set('text', text);
  if (from !== '') query.set('from', String(new Date(from).getTime()));
  if (to !== '') query.set('to', String(new Date(to).getTime()));
  return query;
}

/** For a field of local time: `2026-11-30T08:15:00`. */
export function localTime(atMs: number): string {
  const at = new Date(atMs);
  return new Date(atMs - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

export interface FilterFormProps {
  readonly filters: Filters;
  readonly cameras: readonly string[];
  readonly mayExport: boolean;
  readonly onChange: (filters: Filters) => void;
}

export function FilterForm({ filters, cameras, mayExport, onChange }: FilterFormProps) {
  const [text, setText] = useState(filters.text);
  useEffect(() => setText(filters.text), [filters.text]);
  // Decided once: whoever unfolds it keeps it so.
  const [isWide] = useState(() => matchMedia('(min-width: 40rem)').matches);
  const { kinds, camera, from, to } = filters;
  const set = (part: Partial<Filters>): void => onChange({ ...filters, ...part });
  const query = queryOf(filters);
  const dataSet = new URLSearchParams(query);
  dataSet.delete('kinds');
  return (
    <form
      class="card filters"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        set({ text: text.trim() });
      }}
    >
      <label class="grow">
        Search
        <input
          type="search"
          value={text}
          maxLength={500}
          placeholder='Words; "red cup" side by side; cup* begins so'
          onInput={({ currentTarget }) => {
            setText(currentTarget.value);
            if (currentTarget.value === '') set({ text: '' });
          }}
        />
      </label>
      {cameras.length > 1 && (
        <label>
          Camera
          <select value={camera} onChange={({ currentTarget }) => set({ camera: currentTarget.value })}>
            <option value="">all</option>
            {cameras.map((id) => (
              <option key={id}>{id}</option>
            ))}
          </select>
        </label>
      )}
      <button type="submit">Search</button>
      {/* Folded on a phone, whose first screen it would fill. */}
      <details class="more" open={isWide}>
        <summary>Time, kinds and export</summary>
        <div class="filters">
          <label>
            From
            <input
              type="datetime-local"
              step={1}
              value={from}
              onChange={({ currentTarget }) => set({ from: currentTarget.value })}
            />
          </label>
          <label>
            To
            <input
              type="datetime-local"
              step={1}
              value={to}
              onChange={({ currentTarget }) => set({ to: currentTarget.value })}
            />
          </label>
          <fieldset class="presets">
            <legend>Show</legend>
            {KINDS.map(([kind, title]) => (
              <label key={kind} class="check">
                <input
                  type="checkbox"
                  checked={kinds.includes(kind)}
                  onChange={({ currentTarget }) =>
                    set({ kinds: currentTarget.checked ? [...kinds, kind] : kinds.filter((each) => each !== kind) })
                  }
                />
                {title}
              </label>
            ))}
            {(from !== '' || to !== '') && (
              <button type="button" class="quiet" onClick={() => set({ from: '', to: '' })}>
                Any time
              </button>
            )}
          </fieldset>
          {mayExport && (
            <div class="exports">
              <a class="button quiet" href={`/api/timeline/export?${query}`} download>
                Export as JSON lines
              </a>
              <a class="button quiet" href={`/api/timeline/data-set?${dataSet}`} download>
                Export answers as a data set
              </a>
            </div>
          )}
        </div>
      </details>
    </form>
  );
}
