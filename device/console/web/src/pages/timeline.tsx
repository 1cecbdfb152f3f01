import { useEffect, useState } from 'preact/hooks';
import type { GroundedBox, TimelinePage as Page, TimelineEvent } from '../../../api/schemas.js';
import { get } from '../api.js';
import type { PageProps } from '../app.js';
import { BoxedPicture } from '../boxed-picture.js';

const KINDS = [
  ['scene', 'Descriptions'],
  ['answer', 'Answers'],
  ['watch', 'Watches'],
  ['status', 'Cameras'],
  ['problem', 'Problems'],
] as const;

export function TimelinePage({ state, events: live, session }: PageProps) {
  const [text, setText] = useState('');
  const [kinds, setKinds] = useState<readonly string[]>(['scene', 'answer', 'watch', 'problem']);
  const [camera, setCamera] = useState('');
  const [query, setQuery] = useState('');
  const [events, setEvents] = useState<readonly TimelineEvent[]>();
  const [cursor, setCursor] = useState<string | null>(null);
  const [failure, setFailure] = useState<string>();
  const cameras = state?.cameras.map(({ id }) => id) ?? [];

  const filters = new URLSearchParams();
  if (kinds.length > 0) filters.set('kinds', kinds.join(','));
  if (camera !== '') filters.set('camera', camera);
  if (query !== '') filters.set('text', query);
  const address = filters.toString();
  const newest = live[0]?.id;

  useEffect(() => {
    const abort = new AbortController();
    // What is new is looked up, not mixed in: filters and search stay the journal's.
    get<Page>(`/api/timeline?${address}`, abort.signal).then(
      (page) => {
        setEvents(page.events);
        setCursor(page.cursor);
        setFailure(undefined);
      },
      (error: Error) => {
        if (!abort.signal.aborted) setFailure(error.message);
      },
    );
    return () => abort.abort();
  }, [address, newest]);

  const more = async (): Promise<void> => {
    const page = await get<Page>(`/api/timeline?${address}&cursor=${cursor}`);
    setEvents((known) => [...(known ?? []), ...page.events]);
    setCursor(page.cursor);
  };

  return (
    <>
      <h1>Timeline</h1>
      <form
        class="card filters"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          setQuery(text.trim());
        }}
      >
        <label class="grow">
          Search
          <input
            type="search"
            value={text}
            maxLength={500}
            onInput={({ currentTarget }) => {
              setText(currentTarget.value);
              if (currentTarget.value === '') setQuery('');
            }}
          />
        </label>
        {cameras.length > 1 && (
          <label>
            Camera
            <select value={camera} onChange={({ currentTarget }) => setCamera(currentTarget.value)}>
              <option value="">all</option>
              {cameras.map((id) => (
                <option key={id}>{id}</option>
              ))}
            </select>
          </label>
        )}
        <button type="submit">Search</button>
        <fieldset class="presets">
          <legend>Show</legend>
          {KINDS.map(([kind, title]) => (
            <label key={kind} class="check">
              <input
                type="checkbox"
                checked={kinds.includes(kind)}
                onChange={({ currentTarget }) =>
                  setKinds(currentTarget.checked ? [...kinds, kind] : kinds.filter((each) => each !== kind))
                }
              />
              {title}
            </label>
          ))}
        </fieldset>
        {session.role !== 'display' && (
          <a class="button quiet" href={`/api/timeline/export?${address}`} download>
            Export as JSON lines
          </a>
        )}
      </form>
      {failure !== undefined && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
      {events?.length === 0 && <p class="card">Nothing that fits yet.</p>}
      <ol class="events" aria-busy={events === undefined}>
        {events?.map((event) => (
          <EventItem key={event.id} event={event} />
        ))}
      </ol>
      {cursor !== null && (
        <button type="button" onClick={() => void more()}>
          Show earlier
        </button>
      )}
    </>
  );
}

function EventItem({ event }: { readonly event: TimelineEvent }) {
  const { kind, atMs, camera, frame, run, body } = event;
  const answer = body.answer as { readonly text: string; readonly objects: readonly GroundedBox[] } | null | undefined;
  const { title, text } = say(event);
  return (
    <li class="card event" data-kind={kind}>
      {frame && (kind === 'scene' || kind === 'answer' || kind === 'watch') ? (
        <BoxedPicture frame={frame} camera={camera} run={run} objects={answer?.objects} alt="" />
      ) : (
        <span class="picture none" aria-hidden="true" />
      )}
      <div>
        <p class="facts">
          <time dateTime={new Date(atMs).toISOString()}>{new Date(atMs).toLocaleString()}</time>
          {camera && ` · ${camera}`} · {title}
        </p>
        {typeof body.question === 'string' && <p class="question">{body.question}</p>}
        <p>{text}</p>
      </div>
    </li>
  );
}

function say({ kind, body }: TimelineEvent): { readonly title: string; readonly text: string } {
  const answer = body.answer as { readonly text: string } | null | undefined;
  const message = (name: string) => (body[name] as { readonly message?: string } | null)?.message;
  switch (kind) {
    case 'scene':
      return { title: `description (${String(body.trigger)})`, text: answer?.text ?? '' };
    case 'answer':
      return { title: 'answer', text: answer?.text ?? message('error') ?? '' };
    case 'watch':
      return { title: `watch ${String(body.watch)}`, text: `${String(body.type)}: ${String(body.value)}` };
    case 'status':
      return { title: 'camera', text: [String(body.state), message('reason')].filter(Boolean).join(': ') };
    default:
      return { title: `problem of ${String(body.part)}`, text: message('problem') ?? 'It is well again.' };
  }
}
