import { useState } from 'preact/hooks';
import type { BusMessageInfo, TopicList, TopicMessages } from '../../../../api/health-schemas.js';
import { useRefreshed } from './health-page.js';

const REFRESH_MS = 2_000;

/** What this device says and hears on the bus, message by message, held against the contract. */
export function MqttInspector() {
  const [isPaused, setPaused] = useState(false);
  const [filter, setFilter] = useState('');
  const [chosen, setChosen] = useState<string>();
  const list = useRefreshed<TopicList>(isPaused ? undefined : '/api/mqtt', REFRESH_MS);
  const topics = list.value?.topics ?? [];
  const found = topics.filter(({ topic }) => topic.includes(filter.trim()));
  const topic = chosen ?? found[0]?.topic;
  const address = topic === undefined ? undefined : `/api/mqtt/messages?${new URLSearchParams({ topic })}`;
  const failure = list.failure;
  return (
    <section class="mqtt" aria-label="Messages of the bus">
      <div class="row-of-fields">
        <label class="grow">
          Topics with
          <input type="search" value={filter} onInput={({ currentTarget }) => setFilter(currentTarget.value)} />
        </label>
        <button type="button" class="quiet" aria-pressed={isPaused} onClick={() => setPaused(!isPaused)}>
          {isPaused ? 'Go on' : 'Pause'}
        </button>
      </div>
      {failure !== undefined && (
        <p class="failure" role="alert">
          {failure}
        </p>
      )}
      {list.value && (
        <p class="hint">
          Below {list.value.root}, since the service started.{' '}
          {list.value.left > 0 ? `${list.value.left} messages came too fast to be kept. ` : ''}
          Everything of this device:
        </p>
      )}
      {list.value && <SubscribeLine subscribe={list.value.subscribe} />}
      <div class="panes">
        <ul class="card topics" aria-label="Topics">
          {found.map((each) => (
            <li key={each.topic}>
              <button
                type="button"
                class="quiet"
                aria-current={each.topic === topic ? 'true' : undefined}
                onClick={() => setChosen(each.topic)}
              >
                <span class="name">{each.topic}</span>
                <span class="facts">
                  {each.direction}, {each.count} {each.count === 1 ? 'message' : 'messages'},{' '}
                  {new Date(each.lastAtMs).toLocaleTimeString()} <Verdict schema={each.schema} misses={each.misses} />
                </span>
              </button>
            </li>
          ))}
          {found.length === 0 && <li class="absent">{list.value ? 'No such topic yet.' : 'Asking the device…'}</li>}
        </ul>
        {address !== undefined && (
          <Messages
            key={topic}
            address={address}
            isPaused={isPaused}
            summary={topics.find((each) => each.topic === topic)?.summary ?? null}
          />
        )}
      </div>
    </section>
  );
}

function Verdict({ schema, misses }: { readonly schema: string | null; readonly misses: number }) {
  if (schema === null) return <b class="verdict none">not of the contract</b>;
  return misses === 0 ? <b class="verdict good">valid</b> : <b class="verdict bad">{misses} faults</b>;
}

function Messages({
  address,
  isPaused,
  summary,
}: {
  readonly address: string;
  readonly isPaused: boolean;
  readonly summary: string | null;
}) {
  // Asked once when paused: the topic was just chosen.
  const { value, failure } = useRefreshed<TopicMessages>(address, isPaused ? 2 ** 30 : REFRESH_MS);
  if (failure !== undefined)
    return (
      <p class="failure" role="alert">
        {failure}
      </p>
    );
  if (value === undefined) return <p class="card">Asking the device…</p>;
  return (
    <section class="messages" aria-label={`Messages of ${value.topic}`}>
      <h2>{value.topic}</h2>
      {summary && <p class="hint">{summary}</p>}
      <SubscribeLine subscribe={value.subscribe} />
      <ol>
        {value.messages.map((message, index) => (
          <Message key={message.seq} message={message} isOpen={index === 0} />
        ))}
      </ol>
    </section>
  );
}

function Message({ message, isOpen }: { readonly message: BusMessageInfo; readonly isOpen: boolean }) {
  const { atMs, direction, retain, sizeBytes, text, schema, misses } = message;
  return (
    <li class="card">
      <details open={isOpen}>
        <summary>
          {new Date(atMs).toLocaleTimeString()} {direction}
          {retain ? ', retained' : ''}, {sizeBytes.toLocaleString()} bytes, {schema ?? 'no schema'}{' '}
          <Verdict schema={schema} misses={misses.length} />
        </summary>
        {misses.length > 0 && (
          <ul class="misses">
            {misses.map(({ path, message: what }) => (
              <li key={`${path} ${what}`}>
                <code>{path === '' ? 'payload' : path}</code> {what}
              </li>
            ))}
          </ul>
        )}
        <pre tabIndex={0}>{text}</pre>
      </details>
    </li>
  );
}

function SubscribeLine({ subscribe: { command, note } }: { readonly subscribe: TopicList['subscribe'] }) {
  const [said, setSaid] = useState('');
  if (command === null) return <p class="hint">{note}</p>;
  const copy = async (): Promise<void> => {
    // Browsers give a page the clipboard on this machine and over TLS only.
    const isCopied = await navigator.clipboard?.writeText(command).then(
      () => true,
      () => false,
    );
    setSaid(isCopied ? 'Copied.' : 'Select it and copy it by hand: this browser does not let the page.');
  };
  return (
    <div class="subscribe">
      <code>{command}</code>
      <button type="button" class="quiet" onClick={() => void copy()}>
        Copy
      </button>
      <span role="status" class="hint">
        {said}
      </span>
      {note !== null && <p class="hint">{note}</p>}
    </div>
  );
}
