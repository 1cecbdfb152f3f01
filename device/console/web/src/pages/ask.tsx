import { useEffect, useRef, useState } from 'preact/hooks';
import type { AskEvent } from '../../../api/ask-schemas.js';
import type { DeviceInfo, FrameInfo, GroundedBox } from '../../../api/schemas.js';
import { ApiError, ask, get, sendPicture } from '../api.js';
import type { PageProps } from '../app.js';
import { BoxedPicture } from '../boxed-picture.js';

interface Turn {
  readonly key: number;
  readonly question: string;
  readonly camera: string | null;
  readonly frame: FrameInfo | undefined;
  readonly text: string;
  readonly answer: Extract<AskEvent, { type: 'answer' }> | undefined;
  readonly failure: string | undefined;
}

/** A frame that further questions are about; undefined: what the camera sees at that moment. */
interface Pinned {
  readonly frame: FrameInfo;
  readonly camera: string | null;
}

const PRESETS_KEY = 'scenebus.presets';
const PICTURE_TYPES = ['image/jpeg', 'image/png', 'image/webp'];

export function AskPage({ state, session }: PageProps) {
  const [question, setQuestion] = useState('');
  const [camera, setCamera] = useState<string>();
  const [pinned, setPinned] = useState<Pinned>();
  const [turns, setTurns] = useState<readonly Turn[]>([]);
  const [isBusy, setBusy] = useState(false);
  const [failure, setFailure] = useState<string>();
  const [presets, setPresets] = useState<readonly string[]>([]);
  const [own, setOwn] = useState<readonly string[]>(readPresets);
  const running = useRef<AbortController | undefined>(undefined);
  const cameras = state?.cameras.map(({ id }) => id) ?? [];
  const mayAsk = session.role !== 'display';

  useEffect(() => {
    get<DeviceInfo>('/api/device').then(
      (device) => setPresets(device.presets),
      () => {},
    );
    return () => running.current?.abort();
  }, []);

  const usePicture = async (file: Blob | undefined): Promise<void> => {
    if (file === undefined) return;
    setFailure(undefined);
    if (!PICTURE_TYPES.includes(file.type)) return setFailure('Only JPEG, PNG and WebP pictures can be asked about.');
    try {
      const { id, width, height } = await sendPicture(file);
      setPinned({ frame: { id, width, height, capturedAtMs: Date.now() }, camera: null });
    } catch (error) {
      setFailure(messageOf(error));
    }
  };

  const submit = async (text: string): Promise<void> => {
    if (text.trim() === '' || running.current !== undefined) return;
    const abort = new AbortController();
    running.current = abort;
    const key = Date.now();
    const change = (part: Partial<Turn>): void =>
      setTurns((known) => known.map((turn) => (turn.key === key ? { ...turn, ...part } : turn)));
    const start = {
      key,
      question: text,
      camera: null,
      frame: pinned?.frame,
      text: '',
      answer: undefined,
      failure: undefined,
    };
    setTurns((known) => [start, ...known]);
    setBusy(true);
    try {
      const about = pinned
        ? { frame: { id: pinned.frame.id }, ...(pinned.camera === null ? {} : { camera: pinned.camera }) }
        : { camera: camera ?? cameras[0] };
      let written = '';
      for await (const event of ask({ question: text, ...about }, abort.signal)) {
        if (event.type === 'frame') change({ frame: event.frame, camera: event.camera });
        if (event.type === 'text') {
          written += event.text;
          change({ text: written });
        }
        if (event.type === 'answer') change({ text: event.text, answer: event });
        if (event.type === 'error') change({ failure: event.message });
      }
    } catch (error) {
      change({ failure: abort.signal.aborted ? 'Stopped.' : messageOf(error) });
    } finally {
      running.current = undefined;
      setBusy(false);
    }
  };

  const keep = (next: readonly string[]): void => {
    setOwn(next);
    localStorage.setItem(PRESETS_KEY, JSON.stringify(next));
  };

  return (
    <div
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        void usePicture(event.dataTransfer?.files[0]);
      }}
      onPaste={(event) => void usePicture([...(event.clipboardData?.files ?? [])][0])}
    >
      <h1>Ask</h1>
      {!mayAsk && <p class="card">Asking needs the role operator; yours is {session.role}.</p>}
      <form
        class="card ask"
        onSubmit={(event) => {
          event.preventDefault();
          void submit(question);
        }}
      >
        <label class="grow">
          Question
          <input
            name="question"
            autocomplete="off"
            maxLength={4_096}
            value={question}
            disabled={!mayAsk}
            onInput={({ currentTarget }) => setQuestion(currentTarget.value)}
          />
        </label>
        {cameras.length > 1 && pinned === undefined && (
          <label>
            Camera
            <select value={camera ?? cameras[0]} onChange={({ currentTarget }) => setCamera(currentTarget.value)}>
              {cameras.map((id) => (
                <option key={id}>{id}</option>
              ))}
            </select>
          </label>
        )}
        {isBusy ? (
          <button type="button" onClick={() => running.current?.abort()}>
            Stop
          </button>
        ) : (
          <button type="submit" disabled={!mayAsk || question.trim() === ''}>
            Ask
          </button>
        )}
        <fieldset class="presets" disabled={!mayAsk}>
          <legend>Presets</legend>
          {[...presets, ...own].map((preset, index) => (
            <span key={preset} class="chip">
              <button
                type="button"
                class="quiet"
                disabled={isBusy}
                onClick={() => {
                  setQuestion(preset);
                  void submit(preset);
                }}
              >
                {preset}
              </button>
              {index >= presets.length && (
                <button
                  type="button"
                  class="quiet"
                  aria-label={`Forget the preset ${preset}`}
                  onClick={() => keep(own.filter((each) => each !== preset))}
                >
                  ×
                </button>
              )}
            </span>
          ))}
          {question.trim() !== '' && ![...presets, ...own].includes(question.trim()) && (
            <button type="button" class="quiet" onClick={() => keep([...own, question.trim()].slice(-20))}>
              + Keep this question
            </button>
          )}
        </fieldset>
        <p class="about">
          {pinned === undefined ? 'About what the camera sees when you ask.' : `About the picture ${pinned.frame.id}.`}{' '}
          {pinned !== undefined && (
            <button type="button" class="quiet" onClick={() => setPinned(undefined)}>
              Back to the camera
            </button>
          )}
          <label class="file">
            Ask about a picture of yours
            <input
              type="file"
              accept={PICTURE_TYPES.join(',')}
              disabled={!mayAsk}
              onChange={({ currentTarget }) => void usePicture(currentTarget.files?.[0])}
            />
          </label>
          <span class="hint">or drop or paste it here.</span>
        </p>
        {failure !== undefined && (
          <p class="failure" role="alert">
            {failure}
          </p>
        )}
      </form>
      <div role="log" aria-label="Answers" aria-busy={isBusy}>
        {turns.map((turn) => (
          <TurnCard key={turn.key} turn={turn} onPin={setPinned} isPinned={pinned?.frame.id === turn.frame?.id} />
        ))}
      </div>
    </div>
  );
}

interface TurnCardProps {
  readonly turn: Turn;
  readonly onPin: (pinned: Pinned) => void;
  readonly isPinned: boolean;
}

function TurnCard({ turn: { question, camera, frame, text, answer, failure }, onPin, isPinned }: TurnCardProps) {
  const objects: readonly GroundedBox[] = answer?.objects ?? [];
  return (
    <article class="card turn" data-done={answer !== undefined || failure !== undefined}>
      <h2>{question}</h2>
      <div class="columns">
        {frame && (
          <BoxedPicture
            frame={frame}
            camera={camera}
            objects={objects}
            alt={`The frame that was asked about: ${frame.id}`}
          />
        )}
        <div>
          <p class="answer">{text || (failure === undefined ? '…' : '')}</p>
          {failure !== undefined && <p class="failure">{failure}</p>}
          {answer?.notices.map((notice) => (
            <p key={notice} class="hint">
              {notice}
            </p>
          ))}
          {objects.length > 0 && (
            <ul class="objects">
              {objects.map(({ label, score, source }, index) => (
                <li key={`${label} ${index}`}>
                  {label}{' '}
                  <small>
                    score {score.toFixed(2)}, from {source}
                  </small>
                </li>
              ))}
            </ul>
          )}
          {answer && <Timings timings={answer.timings} usage={answer.usage} />}
          {frame && !isPinned && (
            <button type="button" class="quiet" onClick={() => onPin({ frame, camera })}>
              Ask more about this frame
            </button>
          )}
        </div>
      </div>
    </article>
  );
}

const PARTS = [
  ['queueMs', 'waiting'],
  ['imageMs', 'picture'],
  ['prefillMs', 'question'],
  ['decodeMs', 'answer'],
] as const;

/** Where the time went. */
function Timings({ timings, usage }: Pick<NonNullable<Turn['answer']>, 'timings' | 'usage'>) {
  return (
    <dl class="timings">
      {PARTS.map(([name, title]) => (
        <div key={name}>
          <dt>{title}</dt>
          <dd>{Math.round(timings[name] ?? 0)} ms</dd>
        </div>
      ))}
      <div>
        <dt>first token</dt>
        <dd>{Math.round(timings.timeToFirstTokenMs ?? 0)} ms</dd>
      </div>
      <div>
        <dt>speed</dt>
        <dd>{(timings.tokensPerSecond ?? 0).toFixed(0)} tokens/s</dd>
      </div>
      <div>
        <dt>tokens</dt>
        <dd>{usage.generatedTokens ?? 0}</dd>
      </div>
    </dl>
  );
}

function readPresets(): string[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(PRESETS_KEY) ?? '[]');
    return Array.isArray(kept) ? kept.filter((each) => typeof each === 'string') : [];
  } catch {
    return [];
  }
}

function messageOf(error: unknown): string {
  return error instanceof ApiError || error instanceof Error ? error.message : String(error);
}
