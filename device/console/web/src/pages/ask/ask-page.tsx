import { useEffect, useRef, useState } from 'preact/hooks';
import type { DeviceInfo } from '../../../../api/schemas.js';
import { get, sendPicture } from '../../api.js';
import type { PageProps } from '../../app.js';
import { hashQuery } from '../../hash-query.js';
import { messageOf } from '../../messages.js';
import { FIRST_KIND } from './answer-kind.js';
import { askSide, type Exchange, type Side, startOf, turnsAfter } from './exchange.js';
import { ExchangeCard } from './exchange-card.js';
import { PICTURE_TYPES, QuestionForm } from './question-form.js';
import { type FrameSubject, handedSubject, keyOf, type Subject } from './subject.js';
import './ask.css';

/** Frames that can be gone back to. */
const KNOWN_FRAMES = 8;
const KEPT_EXCHANGES = 50;

export function AskPage({ state, session }: PageProps) {
  const [question, setQuestion] = useState(() => hashQuery().get('question') ?? '');
  const [answerKind, setAnswerKind] = useState(FIRST_KIND);
  const [chosen, setChosen] = useState<Subject | undefined>(handedSubject);
  const [other, setOther] = useState<Subject>();
  const [frames, setFrames] = useState<readonly FrameSubject[]>(() => [handedSubject()].filter((each) => !!each));
  const [exchanges, setExchanges] = useState<readonly Exchange[]>([]);
  const [isBusy, setBusy] = useState(false);
  const [failure, setFailure] = useState<string>();
  const running = useRef<AbortController | undefined>(undefined);
  const cameras = (state?.cameras ?? []).map(({ id }) => ({ kind: 'camera', camera: id }) as const);
  const subject = chosen ?? cameras[0];
  const mayAsk = session.role !== 'display';

  const [presets, setPresets] = useState<readonly string[]>();
  useEffect(() => {
    get<DeviceInfo>('/api/device').then(
      (info) => setPresets(info.presets),
      () => setPresets([]),
    );
    return () => running.current?.abort();
  }, []);

  /** Newest first; what is known of a frame is replaced by what is said of it now. */
  const know = (frame: FrameSubject): void =>
    setFrames((known) =>
      [frame, ...known.filter((each) => keyOf(each) !== keyOf(frame))].slice(0, KNOWN_FRAMES),
    );

  const pin = (frame: FrameSubject): void => {
    know(frame);
    setChosen(frame);
    if (other !== undefined && keyOf(other) === keyOf(frame)) setOther(undefined);
    document.querySelector<HTMLInputElement>('input[name=question]')?.focus();
  };

  const usePicture = async (file: Blob | undefined): Promise<void> => {
    if (file === undefined || !mayAsk) return;
    setFailure(undefined);
    if (!PICTURE_TYPES.includes(file.type)) return setFailure('Only JPEG, PNG and WebP pictures can be asked about.');
    try {
      const { id, width, height } = await sendPicture(file);
      pin({ kind: 'frame', frame: { id, width, height, capturedAtMs: Date.now() }, camera: null, turns: [] });
    } catch (error) {
      setFailure(messageOf(error));
    }
  };

  const submit = async (text: string): Promise<void> => {
    if (text.trim() === '' || subject === undefined || running.current !== undefined) return;
    setFailure(undefined);
    const abort = new AbortController();
    running.current = abort;
    const sides = [subject, ...(other === undefined ? [] : [other])].map(startOf);
    const exchange = { key: Date.now(), question: text.trim(), answerKind, sides };
    setExchanges((known) => [exchange, ...known].slice(0, KEPT_EXCHANGES));
    setBusy(true);
    const change = (index: number, side: Side): void => {
      setExchanges((known) =>
        known.map((each) =>
          each.key === exchange.key
            ? { ...each, sides: each.sides.map((before, place) => (place === index ? side : before)) }
            : each,
        ),
      );
      if (side.answer !== undefined && side.frame !== undefined) remember(side, exchange.question);
    };
    await Promise.all(sides.map((side, index) => askSide(exchange, side, (next) => change(index, next), abort.signal)));
    running.current = undefined;
    setBusy(false);
  };

  /** The conversation about a frame goes on from here, also where it is pinned already. */
  const remember = (side: Side, asked: string): void => {
    const { frame, camera, run } = side;
    const now: FrameSubject = { kind: 'frame', frame: frame!, camera, run, turns: turnsAfter(side, asked) };
    know(now);
    const renew = (before: Subject | undefined) =>
      before?.kind === 'frame' && keyOf(before) === keyOf(now) ? now : before;
    setChosen(renew);
    setOther(renew);
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
      {/* Whole or not at all: presets that come later would push the rest down. */}
      {presets && <QuestionForm
        presets={presets}
        question={question}
        onQuestion={setQuestion}
        answerKind={answerKind}
        onAnswerKind={setAnswerKind}
        subject={subject}
        other={other}
        subjects={[...cameras, ...frames]}
        onSubject={(next) => {
          setChosen(next);
          if (other !== undefined && keyOf(other) === keyOf(next)) setOther(undefined);
        }}
        onOther={setOther}
        onStartOver={() => {
          if (subject?.kind === 'frame') pin({ ...subject, turns: [] });
        }}
        onPicture={(file) => void usePicture(file)}
        onAsk={(text) => void submit(text)}
        onStop={() => running.current?.abort()}
        isBusy={isBusy}
        mayAsk={mayAsk}
        failure={failure}
      />}
      <div role="log" aria-label="Answers" aria-busy={isBusy}>
        {exchanges.map((exchange) => (
          <ExchangeCard key={exchange.key} exchange={exchange} mayWatch={mayAsk} onPin={pin} />
        ))}
      </div>
    </div>
  );
}
